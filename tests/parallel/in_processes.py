"""Trainings one after the other, in this process or in each that torchrun starts:
python in_processes.py JOBS.json.

Jobs: ``command``, ``config`` (its YAML file), ``losses`` (file for what the first process logs as
train_loss), and ``die`` ([rank, epoch], or null): that process ends there without a word. The exit
codes of process R so far are in codes.R beside the jobs.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import torch

from wsss.cli import command
from wsss.tasks.classification import ClassificationTask
from wsss.tasks.segmentation import SegmentationTask

LOSSES = []
DIE = []


@contextmanager
def watched(task) -> Iterator[None]:
    """Note what a task logs, and end the process where it should die."""
    log, step = task.log, task.training_step

    def noting_log(self, name, value, **settings):
        if name == "train_loss":
            LOSSES.append(float(value))
        log(self, name, value, **settings)

    def dying_step(self, batch, index):
        if [self.global_rank, self.current_epoch] == DIE:
            os._exit(9)
        return step(self, batch, index)

    with patch.object(task, "log", noting_log), patch.object(task, "training_step", dying_step):
        yield


def run(path: Path) -> None:
    """Run the jobs of a file."""
    rank = os.environ.get("RANK", "0")
    codes = []
    with watched(ClassificationTask), watched(SegmentationTask):
        for job in json.loads(path.read_text()):
            LOSSES.clear()
            DIE[:] = job["die"] or []
            codes.append(command(job["command"], ["--config", job["config"]]))
            path.with_name(f"codes.{rank}").write_text(json.dumps(codes))
            if rank == "0":
                Path(job["losses"]).write_text(json.dumps(LOSSES))


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(Path(sys.argv[1]))
