"""Several processes, each with commands one after the other: python -m tests.parallel.in_ranks
FOLDER; WORLD_SIZE says how many, and the rest of the environment where they meet.

FOLDER/jobs.json lists ``argv`` (command and words) and ``die``: [rank, n] ends that process by a
signal when it comes to its n-th image; null lets all live. FOLDER receives what process R says in
stderr.R, the exit codes of its commands in codes.R, and in ends.json how the processes ended.

They are forks of one process: it loads everything once, which takes longer than the commands.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch

import wsss.pipeline.commands  # noqa: F401  all of them, before the fork
from wsss.cli import command
from wsss.pipeline.mask_making import scoring
from wsss.refinement.seeds import make_masks


def die_at(count: int) -> None:
    """End this process, as kill -9 does, when its n-th image is finished."""
    seen = []

    def make_or_die(*given, **more):
        seen.append(given)
        if len(seen) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return make_masks(*given, **more)

    scoring.make_masks = make_or_die


def be(rank: int, folder: Path) -> None:
    """Run the commands as the process of this rank."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.dup2(os.open(folder / f"stderr.{rank}", os.O_WRONLY | os.O_CREAT), sys.stderr.fileno())
    codes = []
    for one in json.loads((folder / "jobs.json").read_text()):
        if one["die"] is not None and one["die"][0] == rank:
            die_at(one["die"][1])
        print(f"# {one['argv'][0]}", file=sys.stderr)
        codes.append(command(one["argv"][0], one["argv"][1:]))
        (folder / f"codes.{rank}").write_text(json.dumps(codes))


def main(folder: Path, size: int) -> None:
    """Fork, and wait for all."""
    torch.set_num_threads(1)
    children = []
    for rank in range(size):
        child = os.fork()
        if child == 0:
            be(rank, folder)
            return
        children.append(child)
    ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    (folder / "ends.json").write_text(json.dumps(ends))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(os.environ["WORLD_SIZE"]))
