"""Mask making, end to end: images a second, and which of its stages is the busiest."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from gpu_parts.drawn import Sizes
from gpu_parts.figures import SPENT, Divisor, Fact, Figure, Found, Missing, Share
from gpu_parts.machine import Machine, busy_share
from gpu_parts.waits import waits
from wsss.attribution import AttributionConfig, MultiScaleConfig
from wsss.data import DataConfig, load_records, read_mask
from wsss.data.records import Record
from wsss.models import BackboneConfig, Classifier, build_classifier
from wsss.parallel.devices import full_float32
from wsss.parallel.ranks import Ranks
from wsss.pipeline.mask_making.handover import each, together
from wsss.pipeline.mask_making.reading import batches_of
from wsss.pipeline.mask_making.scoring import MaskMaker, normalised
from wsss.pipeline.mask_making.sources import from_classifier
from wsss.pipeline.mask_making.streaming import READERS, Step, Steps, Workers, stream
from wsss.pipeline.mask_making.writing import MaskWriter, files_of, prediction_strip
from wsss.pipeline.refining import context_on
from wsss.refinement import BackgroundConfig, CRFConfig, RefinementChain
from wsss.refinement.trust import TrustConfig


class Making(NamedTuple):
    """Masks of one kind.

    Args:
        data: The images.
        network: Name of the classifier's backbone, whose weights are random.
        method: Attribution method.
        crf: Backend of the CRF; None for none.
        scales: Sizes at which images are explained, mirrored too.
    """

    data: DataConfig
    network: str
    method: str
    crf: str | None
    scales: tuple[float, ...]

    @property
    def name(self) -> str:
        """The figure's."""
        return f"masks_{self.network}_{self.method}" + (f"_crf_{self.crf}" if self.crf else "")


class Times:
    """Seconds that the threads of each stage have worked."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    def timed(self, name: str, step: Step) -> Step:
        """The same step, whose time is added to that of a stage."""

        def run(batch: list[Any]) -> list[Any]:
            start = time.perf_counter()
            try:
                return step(batch)
            finally:
                spent = time.perf_counter() - start
                with self._lock:
                    self.seconds[name] = self.seconds.get(name, 0.0) + spent

        return run


class Maker:
    """The stream of `make_pseudo_masks`, each step with a clock, without a command around it."""

    def __init__(self, making: Making, device: torch.device) -> None:
        torch.manual_seed(0)
        data = making.data
        model = classifier(making.network, len(data.classes))
        here = Workers.of(Ranks(), "cuda" if device.type == "cuda" else "cpu", None, None)
        # a name says which device, and the current one is meant
        self.workers = here._replace(device=device)
        self.making = making
        listed = load_records(data, "train", with_labels=True)
        shown = [one for one in listed if one.labels is not None and one.labels.any()]
        # batch by batch, so that the first so many of them fill theirs
        self.records = [one for b in batches_of(shown, self.workers.batch_size) for one in b]
        steps = () if making.crf is None else (CRFConfig(backend=making.crf),)  # type: ignore[arg-type]
        self.mask = MaskMaker(
            data.classes, BackgroundConfig(threshold=0.4), RefinementChain(steps),
            context_on(device), TrustConfig(),
        )  # fmt: skip
        self.first = from_classifier(
            model, data, AttributionConfig(making.method),
            MultiScaleConfig(scales=making.scales), None, self.workers,
        )  # fmt: skip

    def __call__(self, folder: Path, records: Sequence[Record], times: Times) -> None:
        """Make the masks of some images."""
        files = files_of(records, folder, scores=False, overlays=False)
        write = MaskWriter(files, prediction_strip)
        steps = Steps(
            times.timed("decode", self.first.read),
            [times.timed("network", one) for one in self.first.explain],
            [
                times.timed("scores", each(normalised)),
                times.timed("crf" if self.making.crf else "labels", together(self.mask)),
                times.timed("write", each(write)),
            ],
        )
        wanted = {record.image_id for record in records}
        outcome = stream(records, wanted, Ranks(), self.workers, steps)
        if outcome.failed:
            raise RuntimeError(f"{self.making.name}: {outcome.failed}")

    def threads(self, stage: str) -> int:
        """Threads that share a stage."""
        workers = self.workers
        return {
            "decode": min(READERS, workers.cores), "network": workers.networks,
        }.get(stage, workers.cores)  # fmt: skip

    def explain_once(self) -> tuple[Callable[[], object], int]:
        """The network's work on one batch that is decoded, and its images."""
        batch = batches_of(self.records, self.workers.batch_size)[0]
        photographs = self.first.read(batch)

        def explain() -> None:
            with full_float32():
                self.first.explain[0](photographs)

        return explain, len(batch)


def classifier(name: str, classes: int) -> Classifier:
    """A classifier with random weights."""
    return build_classifier(BackboneConfig(name=name, output_stride=16), classes).eval()


def makings(data: DataConfig, sizes: Sizes) -> list[Making]:
    """What is timed: both methods on every network, and both CRFs on the first."""
    found = [
        Making(data, network, method, None, sizes.scales)
        for network in sizes.networks
        for method in ("cam", "tif")
    ]
    # last, so that they are what does not fit
    return found + [
        Making(data, sizes.networks[0], "tif", crf, sizes.scales) for crf in ("fast", "torch")
    ]


def masks(
    machine: Machine, data: DataConfig, sizes: Sizes, folder: Path, share: Share
) -> Iterator[Found]:
    """Images a second of each kind, beside those of all cores of the machine."""
    todo = makings(data, sizes)
    for place, making in enumerate(todo):
        if not share.left:
            yield Missing(making.name, SPENT)
            continue
        part = share.part(1 / (len(todo) - place))
        yield from _speed(machine, making, sizes, folder / making.name, part)


def _speed(
    machine: Machine, making: Making, sizes: Sizes, folder: Path, share: Share
) -> Iterator[Found]:
    maker = Maker(making, machine.device)
    machine.forget_memory()
    start_with = maker.records[: maker.workers.batch_size]
    # the first images of each size choose their kernels, the next say how many fit
    maker(folder / "warm", start_with, Times())
    fit = (
        share.left / 2 / min(share.rounds(lambda: maker(folder / "few", start_with, Times()), 0.1))
    )
    records = maker.records[: max(len(start_with), int(fit) * len(start_with))]
    times = Times()
    start = time.perf_counter()
    with busy_share(machine) as busy:
        maker(folder / "all", records, times)
    spent = time.perf_counter() - start
    rate = len(records) / spent
    yield Figure(making.name, rate, "images/s", (_by_the_cpu(machine, making, sizes, folder),))
    shares = {}
    for stage, seconds in times.seconds.items():
        threads = maker.threads(stage)
        whole = Divisor("whole", f"seconds of the round, times {threads} threads", threads * spent)
        yield Figure(f"{making.name}_{stage}", seconds, "seconds of work", (whole,))
        shares[stage] = seconds / (threads * spent)
    if busy:
        shares["device"] = busy[0]
        yield Figure(f"{making.name}_device", busy[0], "of the time in which the device works", ())
    else:
        yield Missing(f"{making.name}_device", "there is no nvidia-smi, or it says nothing")
    yield Fact(f"{making.name}_busiest", max(shares, key=lambda stage: shares[stage]))
    yield machine.memory(making.name)
    explain, count = maker.explain_once()
    yield waits(machine, making.name, explain, "images of the batch", count)


def _by_the_cpu(machine: Machine, making: Making, sizes: Sizes, folder: Path) -> Divisor:
    """Images a second of all cores of the machine, on a few of the images."""
    words = "images/s of all cores of this machine"
    if not machine.cuda:
        return Divisor("cpu", f"{words}: they are the device, in this rehearsal", None)
    if making.network != sizes.networks[0]:
        return Divisor("cpu", f"{words}: asked of {sizes.networks[0]} alone", None)
    maker = Maker(making, torch.device("cpu"))
    few = maker.records[: maker.workers.networks]
    start = time.perf_counter()
    maker(folder / "cpu", few, Times())
    return Divisor("cpu", words, len(few) / (time.perf_counter() - start))


def agreement(machine: Machine, data: DataConfig, sizes: Sizes, folder: Path) -> Iterator[Found]:
    """Share of pixels to which the device and the CPU give the same label, TIF and CRF."""
    found = []
    for number, device in enumerate((torch.device("cpu"), machine.device)):
        making = Making(data, sizes.networks[0], "tif", "torch", sizes.scales)
        maker = Maker(making, device)
        few = maker.records[:4]
        maker(folder / str(number), few, Times())
        names = [folder / str(number) / "masks" / f"{one.image_id}.png" for one in few]
        found.append([read_mask(name) for name in names])
    alike = [np.mean(one == other) for one, other in zip(*found, strict=True)]
    yield Figure("mask_agreement", float(np.mean(alike)), "of the pixels", ())
