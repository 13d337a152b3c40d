"""Threads and processes of mask making: batches sent through its steps."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from wsss.data.records import Record
from wsss.data.videos import Frame
from wsss.parallel.cores import cores_per_process
from wsss.parallel.devices import (
    Device,
    current,
    full_float32,
    keep_memory,
    resolve_device,
    torch_threads,
)
from wsss.parallel.ranks import Ranks
from wsss.parallel.stream import Stage
from wsss.pipeline.mask_making.census import Census
from wsss.pipeline.mask_making.network import networks_that_fit
from wsss.pipeline.mask_making.outcome import Outcome, counted
from wsss.pipeline.mask_making.reading import batches_of

GPU_BATCH = 8
"""Images of one size that a GPU explains at once."""

READERS = 4
"""Threads that decode images, at most: a core decodes far more than a network explains."""

Batch = list[Any]
Step = Callable[[Batch], Batch]


class Steps(NamedTuple):
    """The steps of mask making, each from batch to batch.

    Args:
        read: Records to photographs, or to scores that are stored.
        explain: Photographs to maps: the same step by each copy of the network, or none.
        finish: What follows, up to the files.
    """

    read: Step
    explain: list[Step]
    finish: list[Step]

    def then(self, *steps: Step) -> "Steps":
        """These steps, and further ones behind them."""
        return self._replace(finish=[*self.finish, *steps])


class Workers(NamedTuple):
    """Device, threads and batch size of this process.

    Args:
        device: Device of the network.
        cores: Threads for reading, refining and writing.
        networks: Copies of the network that run beside each other.
        batch_size: Images of one size that the network sees at once.
    """

    device: torch.device
    cores: int
    networks: int
    batch_size: int

    @classmethod
    def of(
        cls, ranks: Ranks, device: Device, workers: int | None, batch_size: int | None
    ) -> "Workers":
        """Choose by the machine, where the user does not say otherwise."""
        place = resolve_device(device)
        cores = cores_per_process(ranks.size_here) if workers is None else workers
        if batch_size is None:
            batch_size = 1 if place.type == "cpu" else GPU_BATCH
        return cls(place, cores, networks_that_fit(cores, place), batch_size)


def stream(
    records: Sequence[Record],
    wanted: set[str],
    ranks: Ranks,
    workers: Workers,
    steps: Steps,
) -> Outcome:
    """Send batches of images through all steps, in threads of this process and in all processes.

    Reading, explaining and finishing overlap. A batch with an image that is wanted is explained as
    a whole, since what the network computes must not depend on what is done already; only the
    wanted images go on from there.

    Args:
        records: All images of the command.
        wanted: Ids of those whose files are missing.
        ranks: The processes that share them.
        workers: Threads and batch size.
        steps: What is done with a batch.

    Returns:
        The outcome in all processes.
    """

    def finished(batch: Batch) -> Batch:
        batch = [one for one in batch if one.record.image_id in wanted]
        with current(workers.device):
            for step in steps.finish:
                batch = step(batch)
        return batch

    def on_its_gpu(step: Step) -> Step:
        # which GPU is current is known to each thread alone, and new threads start at GPU 0
        def explained(batch: Batch) -> Batch:
            with current(workers.device):
                return step(batch)

        return explained

    keep_memory()
    cores = workers.cores
    # the frames of a video are decoded one after another, so one thread asks for them in order
    videos = any(isinstance(record.image, Frame) for record in records)
    readers = 1 if videos else min(READERS, cores)
    stages = [Stage([steps.read] * readers, waiting=2)]
    if steps.explain:
        explain = [on_its_gpu(step) for step in steps.explain]
        stages.append(Stage(explain, waiting=2 * len(explain)))
    stages.append(Stage([finished] * cores, waiting=2 * cores))
    # whole batches are shared and skipped, so that their images stay together; from stored scores
    # no network runs, and batches of one are as good
    batches = [
        batch
        for batch in batches_of(records, workers.batch_size if steps.explain else 1)
        if any(record.image_id in wanted for record in batch)
    ]
    # each copy of the network has its part of the cores
    with torch_threads(max(1, cores // workers.networks)), full_float32():
        outcome = counted(ranks.share(batches), stages, wanted, show=ranks.first)
    parts = ranks.gather(outcome)
    failed = {image_id: error for part in parts for image_id, error in part.failed.items()}
    census = Census()
    for part in parts:
        census.add(part.census)
    return Outcome(failed, sum(part.empty for part in parts), census)
