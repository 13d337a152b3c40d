"""What a GPU computes and how fast: parity with the CPU, training, masks, memory, sharing.

    python benchmarks/gpu.py --json FILE [--seconds 300]
    python benchmarks/gpu.py --device cpu --seconds 60

Needs no network and no file from outside: images are drawn, weights are random. Without a GPU the
second line rehearses it: every part runs, at small sizes, and the numbers are those of a CPU.
Prints each figure with what it is divided by, and writes one flat object: the figures, and
``<figure>_over_<divisor>`` for each divisor that was measured; docs/experiments/gpu.md lists them.
What could not be measured stands under ``not_measured``, with the reason. Each part has a share of
the seconds, and leaves out what does not fit.
"""

import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from gpu_parts import BEGUN
from gpu_parts.drawn import OF_A_GPU, OF_A_REHEARSAL, draw_data
from gpu_parts.figures import Divisor, Figure, Found, Missing, Report, Share
from gpu_parts.machine import Machine, device_of, facts, peaks
from gpu_parts.masks import agreement, masks
from gpu_parts.parity import methods, metrics
from gpu_parts.refinement import crf
from gpu_parts.sharing import two_processes
from gpu_parts.training import from_files, steps
from jsonargparse import auto_cli

IMPORTED = time.perf_counter() - BEGUN
"""Seconds that the imports took, of which a further process needs as many."""

REHEARSED = 2
"""Rounds of each measurement in a rehearsal, which wants every part rather than exact numbers."""


class Part(NamedTuple):
    """A part of the benchmark.

    Args:
        name: In messages and ``only``.
        weight: Its share of the time, over the sum of all weights.
        run: Measures within a share of the time.
    """

    name: str
    weight: float
    run: Callable[[Share], Iterator[Found]]


def main(
    json: Path | None = None,
    seconds: float = 300,
    device: Literal["cuda", "cpu"] = "cuda",
    only: list[str] | None = None,
    seed: int = 0,
) -> None:
    """Run the benchmark.

    Args:
        json: File that receives the numbers.
        seconds: How long it may take, but for a round that is not done yet.
        device: cpu rehearses it.
        only: Names of the parts that are run; null runs all.
        seed: Of the drawn images.
    """
    place = device_of(device)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    report = Report(json)
    rounds = REHEARSED if place.type == "cpu" else None
    whole = Share(seconds - (time.perf_counter() - BEGUN), rounds)
    for one in facts(place, seed):
        report.add(one)
    machine = Machine(place, peaks(place, whole.part(0.02)))
    for kind, peak in machine.peaks.items():
        sheet = machine.sheet[kind] / 1e12 if kind in machine.sheet else None
        by = Divisor("sheet", "TFLOP/s of the card's data sheet", sheet)
        report.add(Figure(f"peak_{kind}", peak / 1e12, "TFLOP/s of a product of matrices", (by,)))
    with tempfile.TemporaryDirectory() as name:
        failed = [
            part.name
            for part, share in _shares(_wanted(machine, Path(name), seed, only), whole)
            if not _measured(part, share, report)
        ]
    given = Divisor("given", "s that were given", seconds)
    report.add(Figure("seconds", time.perf_counter() - BEGUN, "s", (given,)))
    report.write()
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def _wanted(machine: Machine, folder: Path, seed: int, only: list[str] | None) -> list[Part]:
    """The parts that are run, in order."""
    sizes = OF_A_GPU if machine.cuda else OF_A_REHEARSAL
    data = draw_data(folder / "data", sizes, seed)
    parts = [
        Part("metrics", 1, lambda share: metrics(machine)),
        Part("parity", 40, lambda share: methods(machine, share)),
        Part("crf", 8, lambda share: crf(machine, data, sizes, share)),
        Part("agreement", 4, lambda share: agreement(machine, data, sizes, folder / "agreement")),
        Part("steps", 30, lambda share: steps(machine, sizes, share)),
        Part("masks", 30, lambda share: masks(machine, data, sizes, folder / "masks", share)),
        Part("train_cls", 8, lambda share: from_files(machine, data, sizes, folder / "cls")),
        Part("sharing", 14, lambda share: two_processes(machine, sizes, IMPORTED, share)),
    ]
    names = [part.name for part in parts]
    unknown = sorted(set(only or ()) - set(names))
    if unknown:
        raise SystemExit(f"only: expected {', '.join(names)}, got {', '.join(unknown)}")
    return [part for part in parts if only is None or part.name in only]


def _shares(parts: Sequence[Part], whole: Share) -> Iterator[tuple[Part, Share]]:
    """Give each part its share of the time, and what those before it have left over."""
    for place, part in enumerate(parts):
        yield part, whole.part(part.weight / sum(one.weight for one in parts[place:]))


def _measured(part: Part, share: Share, report: Report) -> bool:
    """Run a part; False where it failed, of which the report says why."""
    try:
        for one in part.run(share):
            report.add(one)
    # such as a device that is out of memory: the other parts are measured all the same
    except Exception as error:
        report.add(Missing(part.name, f"{type(error).__name__}: {error}"))
        return False
    finally:
        given = Divisor("given", "s that it was given", share.given)
        report.add(Figure(f"seconds_{part.name}", share.spent, "s", (given,)))
        report.write()
    return True


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
