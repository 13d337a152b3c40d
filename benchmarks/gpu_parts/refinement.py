"""The dense CRF of a batch on the device, beside that of one core."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from gpu_parts.drawn import Sizes
from gpu_parts.figures import Divisor, Figure, Found, Share, median
from gpu_parts.machine import Machine
from gpu_parts.waits import waits
from wsss.data import DataConfig, load_records, read_image
from wsss.refinement import CRFConfig, DenseCRF
from wsss.refinement.crf import dense_crf_batch, unary_from_scores


def crf(machine: Machine, data: DataConfig, sizes: Sizes, share: Share) -> Iterator[Found]:
    """Speed of a batch, difference of the marginals, memory and waits."""
    config = CRFConfig(unary="softmax", backend="torch")
    records = load_records(data, "train", with_labels=False)
    # more than were drawn are asked for where few were
    images = [read_image(records[i % sizes.drawn].image) for i in range(sizes.crf)]
    generator = np.random.default_rng(0)
    unaries = [
        unary_from_scores(_smooth(generator.random((3, 8, 8)), image.shape[:2]), config)
        for image in images
    ]
    fast = replace(config, backend="fast")
    DenseCRF(images[0], fast).infer(unaries[0])  # compiles
    expected = [DenseCRF(*one).infer(u) for *one, u in zip(images, [fast] * len(images), unaries)]
    by_core = share.rounds(
        lambda: [DenseCRF(image, fast).infer(u) for image, u in zip(images, unaries, strict=True)],
        0.3,
    )

    def refine() -> list[np.ndarray]:
        return dense_crf_batch(images, unaries, config, str(machine.device))

    machine.forget_memory()
    found = refine()
    apart = max(float(np.abs(a - b).max()) for a, b in zip(found, expected, strict=True))
    largest = Divisor("one", "the largest marginal that there is", 1.0)
    yield Figure("crf_difference", apart, "of a marginal", (largest,))
    alike = [np.mean(a.argmax(0) == b.argmax(0)) for a, b in zip(found, expected, strict=True)]
    yield Figure("crf_agreement", float(np.mean(alike)), "of the pixels", ())
    core = Divisor(
        "core", "images/s of one core of this machine, fast backend", len(images) / median(by_core)
    )
    rate = len(images) / median(share.rounds(refine, 0.8))
    yield Figure("crf", rate, "images/s", (core,))
    yield machine.memory("crf")
    yield waits(machine, "crf", refine, "images of the batch", len(images))


def _smooth(coarse: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Enlarge (L, h, w) scores to at least a size, in squares, and cut them to it."""
    height, width = size
    rows, columns = -(-height // coarse.shape[1]), -(-width // coarse.shape[2])
    return np.kron(coarse, np.ones((rows, columns)))[:, :height, :width]
