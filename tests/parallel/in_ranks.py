"""One process of several: python in_ranks.py JOBS.json CODES, commands one after the other.

Each job has ``argv`` (command and words) and ``die``: [rank, n] ends that process by a signal when
it comes to its n-th image; null lets all live. CODES.<rank> receives the exit codes.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch

from wsss.cli import command
from wsss.pipeline.mask_making import scoring
from wsss.refinement.seeds import make_masks

RANK = int(os.environ.get("RANK", "0"))


def die_at(count: int) -> None:
    """End this process, as kill -9 does, when its n-th image is finished."""
    seen = []

    def make_or_die(*given, **more):
        seen.append(given)
        if len(seen) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return make_masks(*given, **more)

    scoring.make_masks = make_or_die


if __name__ == "__main__":
    torch.set_num_threads(1)
    codes = []
    for one in json.loads(Path(sys.argv[1]).read_text()):
        if one["die"] is not None and one["die"][0] == RANK:
            die_at(one["die"][1])
        print(f"# {one['argv'][0]}", file=sys.stderr)
        codes.append(command(one["argv"][0], one["argv"][1:]))
        Path(f"{sys.argv[2]}.{RANK}").write_text(json.dumps(codes))
