"""The table from seeds to a network on voc-animals: every row of its configurations, and seeds.

    python benchmarks/ablation.py --json FILE

Runs the files of configs/voc-animals in the order below for seed 0, then the chain and the
yardstick anew for the other seeds, each into a folder of its own. Every step is a `wsss run` in a
process of its own. Its largest memory and its processor seconds, which know nothing of what else
runs on the machine, are kept beside its results (cost.json). Steps that are done are skipped, so
that a run that was cut off goes on when it is called again; and calls for other seeds, with
`--table false`, may run at the same time. At the end it prints one row for every step that scores,
as docs/experiments/results.md has it, and writes the mIoU of each, in points:

- <step>: of the files of the table, seed 0;
- network_<seed>, full_<seed>, retention_<seed>: the chain's last network, that of the same recipe
  on real masks, and their ratio.
"""

import json as text
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import auto_cli
from ratios import write_ratios

from wsss.runs.evaluation import Evaluation

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIGS = REPOSITORY / "configs/voc-animals"
CHAIN = ("run.yaml", "run-yardstick.yaml")
TABLE = ("run.yaml", "run-seeds.yaml", "run-masks.yaml", "run-networks.yaml", "run-test-time.yaml",
         "run-yardstick.yaml")  # fmt: skip


def with_seed(config: Mapping[str, Any], seed: int, output: str) -> dict[str, Any]:
    """The configuration with the seed in all trainings, and a folder of its own."""
    steps = []
    for step in config["steps"]:
        changed = dict(step)
        if step["command"].startswith("train_"):
            changed["seed"] = seed
        steps.append(changed)
    return {**config, "output": output, "steps": steps}


def run(config: Mapping[str, Any], name: str) -> None:
    """Run the steps of a configuration that are not done, each in a process of its own."""
    output = REPOSITORY / config["output"]
    names = [step["name"] for step in config["steps"]]
    done = [(output / step / "step.json").is_file() for step in names]
    first = done.index(False) if False in done else len(names)
    for count in range(first + 1, len(names) + 1):
        seconds, peak = wsss_run({**config, "steps": config["steps"][:count]}, name)
        cost = {"seconds": round(seconds), "peak_mib": round(peak)}
        print(f"{output.name}, {names[count - 1]}: {cost}", flush=True)
        (output / names[count - 1] / "cost.json").write_text(text.dumps(cost), encoding="utf-8")
    # once as a whole: what was made by other settings is made anew
    wsss_run(config, name)


def wsss_run(config: Mapping[str, Any], name: str) -> tuple[float, float]:
    """Run a configuration; return processor seconds, and the largest process's MiB at the most."""
    # beside the files of the repository: paths in them start at their folder
    file = CONFIGS / f".{name.removesuffix('.yaml')}-{Path(config['output']).name}.yaml"
    file.write_text(yaml.safe_dump(dict(config), sort_keys=False), encoding="utf-8")
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "wsss.cli", "run", "--config", file], cwd=REPOSITORY
        )
        _, status, usage = os.wait4(process.pid, 0)
    finally:
        file.unlink()
    if status:
        raise SystemExit(f"{name} of {config['output']} ended with {status}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**10


def show(config: Mapping[str, Any]) -> dict[str, float]:
    """Print a row for each step, with its score or its cost; return the mIoU of those that score.

    A mIoU is in points, with its 95 % interval over images; then the difference to the row that it
    is compared with, or the share of full supervision that is retained.
    """
    scores = {}
    for step in config["steps"]:
        folder = REPOSITORY / config["output"] / step["name"]
        if step["command"] == "eval_miou":
            found = Evaluation.read(folder)
            assert found.intervals is not None, "a list of one image"
            miou, low, high = (
                100 * float(means.miou or 0)
                for means in (found.means, found.intervals.low, found.intervals.high)
            )
            scores[step["name"]] = miou
            row = f"| {step['name']} | {step['split']} | {miou:.1f} [{low:.1f}, {high:.1f}] |"
            if found.against is not None:
                ends = (100 * float(end or 0) for end in found.against.interval)
                row += " {:+.1f} [{:+.1f}, {:+.1f}] |".format(
                    100 * float(found.against.miou_difference or 0), *ends
                )
            if found.retention is not None:
                ends = (float(end or 0) for end in (found.retention.low, found.retention.high))
                row += " {:.3f} [{:.3f}, {:.3f}] |".format(found.retention.value or 0, *ends)
            print(row)
        elif (folder / "cost.json").is_file():
            cost = text.loads((folder / "cost.json").read_text(encoding="utf-8"))
            print(f"| {step['name']} | {cost['seconds']} s | {cost['peak_mib']:,} MiB |")
    return scores


def main(json: Path | None = None, seeds: Sequence[int] = (0, 1, 2), table: bool = True) -> None:
    """Run the table and the seeds.

    Args:
        json: Receives the flat object.
        seeds: Of the chain and the yardstick; 0 is that of the table.
        table: Also run the files that are not part of the chain, with seed 0.
    """
    numbers: dict[str, float] = {}
    configs = {name: yaml.safe_load((CONFIGS / name).read_text("utf-8")) for name in TABLE}
    for seed in sorted({*seeds} | ({0} if table else set())):
        files = TABLE if table and not seed else CHAIN
        scores: dict[str, float] = {}
        for name in files:
            config = configs[name]
            if seed:
                config = with_seed(config, seed, f"{config['output']}-seed-{seed}")
            run(config, name)
            scores |= show(config)
        if seed:
            # 10 GB that can be made again
            shutil.rmtree(REPOSITORY / config["output"] / "cache", ignore_errors=True)
        else:
            numbers |= scores
        network, full = scores["score_predictions"], scores["score_predictions_full"]
        numbers |= {
            f"network_{seed}": network, f"full_{seed}": full, f"retention_{seed}": network / full
        }  # fmt: skip
    write_ratios(numbers, json)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
