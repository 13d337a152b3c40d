"""What our dense CRF costs against the library pydensecrf, and how far their results are apart.

    python benchmarks/crf.py --json ratios.json

VOC's size and default kernels (80 / 13), 10 iterations, one thread; photographs of
../shared/data/voc-animals where they are, drawn images otherwise. Contestants take turns on each
image, the fastest turn of each counts, summed over the images; both build their lattices anew in
each call. Unaries are those of drawn, smooth score maps. Writes one flat object:

- pydensecrf_over_fast_{2,3,5,21}_labels, and _3_labels_50_5 with IRN's kernels: time;
- torch_over_pydensecrf_3_labels: time of the backend without a compiler, on CPU;
- two_threads_over_one: images a second of two Python threads over those of one;
- shared_lattice_over_two_calls: two unaries of one DenseCRF over two calls of dense_crf;
- lattice_share: share of a call with 3 labels that goes into the lattice;
- milliseconds_fast_3_labels, milliseconds_pydensecrf_3_labels: of an image, on this machine;
- max_difference, mean_difference, argmax_agreement: of the marginals of 3 labels and pydensecrf's;
- brute_force_error_{fast,pydensecrf}: mean difference from all pairs of pixels, 40 x 30 pixels.

Without pydensecrf only what needs none of it. Needs ``pip install -e '.[dev]'``.
"""

import os

os.environ |= {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import importlib.util
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from jsonargparse import auto_cli
from ratios import write_ratios

from wsss.data import read_image
from wsss.refinement import CRFConfig, DenseCRF, dense_crf
from wsss.refinement.crf import unary_from_scores

PHOTOGRAPHS = Path(__file__).resolve().parents[2] / "shared/data/voc-animals/JPEGImages"
SIZE = (375, 500)
FAST = CRFConfig(backend="fast")
TORCH = CRFConfig(backend="torch")
LIBRARY = CRFConfig(backend="pydensecrf")
IRN = {"bilateral_sxy": 50.0, "bilateral_srgb": 5.0}
Task = tuple[np.ndarray, np.ndarray]


def draw_image(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Patches of colour with shades, edges and noise."""
    height, width = size
    image = np.empty((height, width, 3), dtype=np.float32)
    image[:] = rng.uniform(60, 200, 3)
    for _ in range(12):
        centre, axes = rng.uniform(0, (width, height)), rng.uniform(20, 120, 2)
        colour = [float(c) for c in rng.uniform(10, 245, 3)]
        whole = [int(n) for n in (*centre, *axes)]
        cv2.ellipse(image, whole[:2], whole[2:], float(rng.uniform(0, 180)), 0, 360, colour, -1)
    texture = rng.normal(0, 1, (height, width, 3)).astype(np.float32)
    image += 60 * cv2.GaussianBlur(texture, (0, 0), 3) + 4 * texture
    return image.clip(0, 255).astype(np.uint8)


def load_images(count: int, size: tuple[int, int]) -> list[np.ndarray]:
    """Photographs spread over the folder, cut to the size, or drawn images; says which."""
    files = sorted(PHOTOGRAPHS.glob("*.jpg")) if PHOTOGRAPHS.is_dir() else []
    images: list[np.ndarray] = []
    for file in files[:: max(1, len(files) // (2 * count))]:
        image = read_image(file)
        if image.shape[0] < image.shape[1] and len(images) < count:
            image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
            images.append(np.ascontiguousarray(image))
    if images:
        print(f"{len(images)} photographs of {PHOTOGRAPHS}, at {size[1]} x {size[0]}")
        return images
    print(f"{count} drawn images of {size[1]} x {size[0]}")
    rng = np.random.default_rng(0)
    return [draw_image(rng, size) for _ in range(count)]


def draw_unary(labels: int, size: tuple[int, int], seed: int) -> np.ndarray:
    """Energies of smooth random scores in [0, 1], as maps of a classifier are smooth."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((labels, 8, 8)).astype(np.float32)
    resized = [cv2.resize(c, size[::-1], interpolation=cv2.INTER_CUBIC) for c in coarse]
    return unary_from_scores(np.stack(resized).clip(0, 1), CRFConfig())


def fastest(contestants: dict[str, Callable[[Task], object]], tasks: list[Task], turns: int):
    """Seconds of each for all tasks: in turns on each task, its fastest turn."""
    total = dict.fromkeys(contestants, 0.0)
    for run in contestants.values():  # compiles
        run(tasks[0])
    for task in tasks:
        best = dict.fromkeys(contestants, float("inf"))
        for _ in range(turns):
            for name, run in contestants.items():
                start = time.perf_counter()
                run(task)
                best[name] = min(best[name], time.perf_counter() - start)
        total = {name: total[name] + best[name] for name in total}
    return total


def refine(config: CRFConfig) -> Callable[[Task], object]:
    return lambda task: dense_crf(*task, config)


def refine_twice(task: Task) -> None:
    for unary in (task[1], task[1][::-1]):
        dense_crf(task[0], unary, FAST)


def refine_twice_with_one_lattice(task: Task) -> None:
    crf = DenseCRF(task[0], FAST)
    for unary in (task[1], task[1][::-1]):
        crf.infer(unary)


def time_backends(images: list[np.ndarray], turns: int, library: bool) -> dict[str, float]:
    """Backends against each other, and parts of `fast`."""
    size = images[0].shape[:2]
    found = {}
    for labels in (2, 3, 5, 21):
        tasks = [(image, draw_unary(labels, size, i)) for i, image in enumerate(images)]
        contestants = {"fast": refine(FAST)}
        if library:
            contestants["pydensecrf"] = refine(LIBRARY)
        if labels == 3:
            contestants |= {
                "irn": refine(replace(FAST, **IRN)),
                "torch": refine(TORCH),
                "lattice": lambda task: DenseCRF(task[0], FAST),
                "twice": refine_twice,
                "shared": refine_twice_with_one_lattice,
            }
        if library and labels == 3:
            contestants["pydensecrf_irn"] = refine(replace(LIBRARY, **IRN))
        seconds = fastest(contestants, tasks, turns)
        if library:
            ratio = seconds["pydensecrf"] / seconds["fast"]
            found[f"pydensecrf_over_fast_{labels}_labels"] = ratio
        if labels != 3:
            continue
        if library:
            ratio = seconds["pydensecrf_irn"] / seconds["irn"]
            found["pydensecrf_over_fast_3_labels_50_5"] = ratio
            found["torch_over_pydensecrf_3_labels"] = seconds["torch"] / seconds["pydensecrf"]
            milliseconds = 1e3 * seconds["pydensecrf"] / len(images)
            found["milliseconds_pydensecrf_3_labels"] = milliseconds
        found["shared_lattice_over_two_calls"] = seconds["shared"] / seconds["twice"]
        found["lattice_share"] = seconds["lattice"] / seconds["fast"]
        found["milliseconds_fast_3_labels"] = 1e3 * seconds["fast"] / len(images)
    return found


def time_threads(images: list[np.ndarray], turns: int) -> float:
    """Images a second of two threads over those of one; each thread refines all images."""
    tasks = [(image, draw_unary(3, image.shape[:2], i)) for i, image in enumerate(images)]

    def work(_: int) -> None:
        for task in tasks:
            dense_crf(*task, FAST)

    best = {1: float("inf"), 2: float("inf")}
    work(0)
    for _ in range(turns):
        for threads in best:
            with ThreadPoolExecutor(threads) as pool:
                start = time.perf_counter()
                list(pool.map(work, range(threads)))
                best[threads] = min(best[threads], time.perf_counter() - start)
    return 2 * best[1] / best[2]


def compare(images: list[np.ndarray]) -> dict[str, float]:
    """Marginals of `fast` and of pydensecrf."""
    highest, mean, agreement = 0.0, [], []
    for i, image in enumerate(images):
        unary = draw_unary(3, image.shape[:2], 1000 + i)
        ours, theirs = dense_crf(image, unary, FAST), dense_crf(image, unary, LIBRARY)
        difference = np.abs(ours.astype(np.float64) - theirs)
        highest = max(highest, float(difference.max()))
        mean.append(difference.mean())
        agreement.append((ours.argmax(0) == theirs.argmax(0)).mean())
    return {
        "max_difference": highest,
        "mean_difference": float(np.mean(mean)),
        "argmax_agreement": float(np.mean(agreement)),
    }


def brute_force(image: np.ndarray, unary: np.ndarray, config: CRFConfig) -> np.ndarray:
    """Mean field with every pair of pixels, in float64."""
    height, width = image.shape[:2]
    places = np.stack(np.mgrid[:height, :width], axis=2).reshape(-1, 2).astype(np.float64)
    colours = image.reshape(-1, 3).astype(np.float64)

    def kernel(features: np.ndarray) -> np.ndarray:
        squared = ((features[:, None] - features[None]) ** 2).sum(axis=2)
        values = np.exp(-0.5 * squared)
        root = np.sqrt(values.sum(axis=1))
        return values / root / root[:, None]

    def softmax(logits: np.ndarray) -> np.ndarray:
        powers = np.exp(logits - logits.max(axis=0))
        return powers / powers.sum(axis=0)

    both = np.hstack([places / config.bilateral_sxy, colours / config.bilateral_srgb])
    messages = config.gaussian_compat * kernel(places / config.gaussian_sxy)
    messages += config.bilateral_compat * kernel(both)
    logits = -unary.reshape(len(unary), -1).astype(np.float64)
    marginals = softmax(logits)
    for _ in range(config.iterations):
        marginals = softmax(logits + marginals @ messages)
    return marginals.reshape(unary.shape)


def main(json: Path | None = None, photographs: int = 50, timed: int = 6, turns: int = 5,
         scale: float = 1.0) -> None:  # fmt: skip
    """Measure and print the ratios.

    Args:
        json: File to write them to.
        photographs: Number of images whose marginals are compared.
        timed: Number of images that are timed.
        turns: How often each contestant runs on each.
        scale: Side of the images, in units of VOC's 500 x 375.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    library = importlib.util.find_spec("pydensecrf") is not None
    if not library:
        print("pydensecrf is not installed: nothing is compared with it")
    size = (round(SIZE[0] * scale), round(SIZE[1] * scale))
    images = load_images(max(photographs, timed), size)
    ratios = time_backends(images[:timed], turns, library)
    ratios["two_threads_over_one"] = time_threads(images[:timed], turns)
    if library:
        ratios |= compare(images[:photographs])
    small = cv2.resize(images[0], (40, 30), interpolation=cv2.INTER_AREA)
    unary = draw_unary(3, (30, 40), 0)
    exact = brute_force(small, unary, FAST)
    for config in (FAST, LIBRARY) if library else (FAST,):
        error = np.abs(dense_crf(small, unary, config) - exact).mean()
        ratios[f"brute_force_error_{config.backend}"] = float(error)
    write_ratios(ratios, json)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
