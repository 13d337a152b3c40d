"""The table from seeds to a network on voc-animals: every row of its configurations, and seeds.

    python benchmarks/ablation.py --json FILE

Runs the files of configs/voc-animals in the order below, each as `wsss run` in a process of its
own: steps that are done are skipped, so that a run that was cut off goes on when it is called
again. Then it runs the chain and the yardstick anew for the other seeds, each into a folder of its
own, prints one row for every step that scores, as docs/results.md has it, and writes the mIoU of
each, in points:

- <step>: of the files of the table, seed 0;
- network_<seed>, full_<seed>, retention_<seed>: the chain's last network, that of the same recipe
  on real masks, and their ratio.

Seconds and memory are those of the whole file's process, where this call ran any of its steps.
"""

import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from jsonargparse import auto_cli
from ratios import write_ratios

from wsss.runs.evaluation import Evaluation

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIGS = REPOSITORY / "configs/voc-animals"
CHAIN = ("run.yaml", "run-yardstick.yaml")
TABLE = ("run.yaml", "run-seeds.yaml", "run-masks.yaml", "run-networks.yaml", "run-test-time.yaml",
         "run-yardstick.yaml")  # fmt: skip


class Row(NamedTuple):
    """A scored step.

    Args:
        file: Configuration that it stands in.
        step: Its name.
        split: List that was scored.
        miou: In points.
        interval: 95 % interval over images, in points.
    """

    file: str
    step: str
    split: str
    miou: float
    interval: tuple[float, float]


def with_seed(config: Mapping[str, Any], seed: int, output: str) -> dict[str, Any]:
    """The configuration with the seed in all trainings, and a folder of its own."""
    steps = []
    for step in config["steps"]:
        changed = dict(step)
        if step["command"].startswith("train_"):
            changed["seed"] = seed
        if step["command"] == "self_train":
            changed["train_seg"] = {**step["train_seg"], "seed": seed}
        steps.append(changed)
    return {**config, "output": output, "steps": steps}


def run(file: Path) -> None:
    """Run a configuration in a process of its own; say how long it took, and its memory."""
    start = time.monotonic()
    # from the repository's root: paths in the files start there
    subprocess.run(
        [sys.executable, "-m", "wsss.cli", "run", "--config", file], check=True, cwd=REPOSITORY
    )
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10
    seconds = time.monotonic() - start
    print(f"{file.name}: {seconds:.0f} s, largest process so far {peak:.0f} MiB", flush=True)


def rows_of(config: Mapping[str, Any], name: str) -> Iterator[Row]:
    """Read what each step of a configuration has scored."""
    for step in config["steps"]:
        if step["command"] != "eval_miou":
            continue
        found = Evaluation.read(REPOSITORY / config["output"] / step["name"])
        assert found.intervals is not None, "a list of one image"
        miou, low, high = (
            100 * float(means.miou or 0)
            for means in (found.means, found.intervals.low, found.intervals.high)
        )
        yield Row(name, step["name"], step["split"], miou, (low, high))


def main(json: Path | None = None, seeds: Sequence[int] = (0, 1, 2), table: bool = True) -> None:
    """Run the table and the seeds.

    Args:
        json: Receives the flat object.
        seeds: Of the chain and the yardstick; 0 is that of the table.
        table: Also run the files that are not part of the chain.
    """
    numbers: dict[str, float] = {}
    configs = {name: yaml.safe_load((CONFIGS / name).read_text("utf-8")) for name in TABLE}
    for name in TABLE if table else CHAIN:
        run(CONFIGS / name)
        for row in rows_of(configs[name], name):
            low, high = row.interval
            print(f"| {row.step} | {row.split} | {row.miou:.1f} | {low:.1f}-{high:.1f} |")
            numbers[row.step] = row.miou
    for seed in seeds:
        output = "runs/voc-animals" if seed == 0 else f"runs/voc-animals-seed-{seed}"
        scores: dict[str, float] = {}
        for name in CHAIN:
            config = configs[name]
            if seed:
                config = with_seed(config, seed, output)
                file = CONFIGS / f".{Path(name).stem}-seed-{seed}.yaml"
                file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
                try:
                    run(file)
                finally:
                    file.unlink()
            scores |= {row.step: row.miou for row in rows_of(config, name)}
        numbers[f"network_{seed}"] = scores["score_predictions"]
        numbers[f"full_{seed}"] = scores["score_predictions_full"]
        numbers[f"retention_{seed}"] = (
            scores["score_predictions"] / scores["score_predictions_full"]
        )
    write_ratios(numbers, json)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
