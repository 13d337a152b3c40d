"""One process of trainings that torchrun starts: python in_processes.py JOBS.json.

Jobs, one after the other: ``command``, ``config`` (its YAML file), ``losses`` (file for what the
first process logs as train_loss), and ``die`` ([rank, epoch], or null): that process ends there
without a word.
"""

import json
import os
import sys
from pathlib import Path

import torch

from wsss.cli import command
from wsss.tasks.classification import ClassificationTask
from wsss.tasks.segmentation import SegmentationTask

LOSSES = []
DIE = []


def watch(task):
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

    task.log, task.training_step = noting_log, dying_step


if __name__ == "__main__":
    torch.set_num_threads(1)
    for kind in (ClassificationTask, SegmentationTask):
        watch(kind)
    for job in json.loads(Path(sys.argv[1]).read_text()):
        LOSSES.clear()
        DIE[:] = job["die"] or []
        code = command(job["command"], ["--config", job["config"]])
        if code:
            sys.exit(code)
        if os.environ.get("RANK", "0") == "0":
            Path(job["losses"]).write_text(json.dumps(LOSSES))
