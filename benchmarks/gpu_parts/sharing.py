"""Two processes on one device: what each still does beside the other."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.multiprocessing import get_context

from gpu_parts.drawn import Sizes
from gpu_parts.figures import Divisor, Figure, Found, Missing, Share
from gpu_parts.machine import Machine


def two_processes(machine: Machine, sizes: Sizes, imports: float, share: Share) -> Iterator[Found]:
    """Images a second of two trainings together, over those of one alone.

    Args:
        machine: The device.
        sizes: What is trained.
        imports: Seconds that a process needs for its imports.
        share: Of the time.
    """
    # both at once, on cores that may be busy, and their first step
    starting = 2 * imports
    if share.left < starting + 3:
        reason = f"two processes take {starting:.0f} s to start, and {share.left:.0f} s are left"
        yield Missing("sharing", reason)
        return
    context = get_context("spawn")
    pipes = [context.Pipe() for _ in range(2)]
    workers = [
        context.Process(target=_train, args=(theirs, sizes, str(machine.device)), daemon=True)
        for _, theirs in pipes
    ]
    ours = [mine for mine, _ in pipes]
    for worker in workers:
        worker.start()
    try:
        for mine in ours:
            if not mine.poll(share.left):
                yield Missing("sharing", "two processes did not start in the time that was left")
                return
            mine.recv()
        seconds = max(0.5, share.left / 3)
        alone = _rates(ours[:1], seconds)[0]
        together = _rates(ours, seconds)
    finally:
        for worker in workers:
            worker.terminate()
            worker.join()
    one = Divisor("one", "images/s of one process alone", alone)
    yield Figure("sharing", sum(together), "images/s of both", (one,))


def _rates(pipes: list[Any], seconds: float) -> list[float]:
    """Let some processes train at the same time; images a second of each."""
    for pipe in pipes:
        pipe.send(seconds)
    return [pipe.recv() for pipe in pipes]


def _train(pipe: Any, sizes: Sizes, device: str) -> None:
    """Train for as many seconds as are asked for, until None is; a process of its own."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from gpu_parts.training import VARIANTS, Training

    torch.set_num_threads(1)
    place = torch.device(device)
    machine = Machine(place, {})
    variant = next(one for one in VARIANTS if one.name == ("tf32" if machine.cuda else "float32"))
    training = Training("classifier", sizes, place, variant)
    training.step()
    machine.wait()
    pipe.send("ready")
    while (seconds := pipe.recv()) is not None:
        start, images = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            training.step()
            machine.wait()
            images += sizes.batch
        pipe.send(images / (time.perf_counter() - start))
