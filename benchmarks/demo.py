"""Whether the demo is a draw: its whole road with five seeds, and how long it takes.

    python benchmarks/demo.py --json FILE

Draws the data set of ``make demo`` and runs the steps of configs/shapes/run.yaml on it, once for
each seed of the two trainings; everything else stays as it is, the drawn images included. Prints
every stage's mIoU as a table for the README, and writes one flat object, in points of mIoU:

- tif_minus_cam_least: TIF's seeds minus CAM's, each at its best threshold; the smallest;
- crf_gain_least: masks after the dense CRF minus the seeds they are made of; the smallest;
- network_least: the segmentation network on val, which no training has seen; the smallest;
- spread_largest: of all stages, the largest distance between two seeds;
- seconds: of a demo without its installation, drawing and table included; the slowest of them.

Each run is three processes, as in ``make demo``. Nothing else should run meanwhile.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import auto_cli
from ratios import write_ratios

from wsss.runs.evaluation import Evaluation

REPOSITORY = Path(__file__).resolve().parents[1]

STAGES = {
    "sweep_cam": "CAM seeds, train",
    "sweep_gradcam": "Grad-CAM seeds, train",
    "sweep_layercam": "LayerCAM seeds, train",
    "sweep_tif": "TIF seeds, train",
    "score_otsu": "TIF seeds at Otsu's threshold, train",
    "score_masks": "TIF masks after the dense CRF, train",
    "score_predictions": "DeepLab trained on these masks, val",
}
"""Steps that score, in the order of the demo's table, and what they score on which list."""

Scores = Mapping[str, float]
"""mIoU in points, by step."""


def with_seed(config: Mapping[str, Any], seed: int, data: Path, output: Path) -> dict[str, Any]:
    """The demo's configuration with the seed in both trainings, and folders of its own."""
    steps = [
        {**step, "seed": seed} if step["command"].startswith("train_") else step
        for step in config["steps"]
    ]
    facts = yaml.safe_load((REPOSITORY / "configs/shapes/data.yaml").read_text(encoding="utf-8"))
    return {"output": str(output), "data": {**facts, "root": str(data)}, "steps": steps}


def as_yaml(config: Mapping[str, Any]) -> str:
    """The configuration in its own order: that of the classes is that of the network's outputs."""
    return yaml.safe_dump(dict(config), sort_keys=False)


def make_environment() -> dict[str, str]:
    """This process's environment with what the Makefile exports."""
    text = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    exported = dict(re.findall(r"^export (\w+) \?= (\S+)$", text, re.MULTILINE))
    return {**exported, **os.environ}


def run_demo(seed: int, drawing: int, folder: Path) -> float:
    """Draw, run, summarise, with a log; the seconds it took."""
    folder.mkdir(parents=True)
    data, output, file = folder / "set", folder / "run", folder / "run.yaml"
    config = yaml.safe_load((REPOSITORY / "configs/shapes/run.yaml").read_text(encoding="utf-8"))
    file.write_text(as_yaml(with_seed(config, seed, data, output)), encoding="utf-8")
    commands = (
        ["data/shapes/prepare.py", "--root", str(data), "--seed", str(drawing)],
        ["-m", "wsss.cli", "run", "--config", str(file)],
        ["tools/summarise_demo.py", "--run", str(output), "--data", str(data)],
    )
    start = time.perf_counter()
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        for words in commands:
            subprocess.run(
                [sys.executable, *words],
                cwd=REPOSITORY,
                env=make_environment(),
                check=True,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
    return time.perf_counter() - start


def read_scores(output: Path) -> dict[str, float]:
    """mIoU in points of each stage of a run, by step."""
    return {step: 100 * (Evaluation.read(output / step).means.miou or 0.0) for step in STAGES}


def summary(runs: Sequence[Scores]) -> dict[str, float]:
    """The worst of the seeds, and the largest distance between two."""
    columns = [[scores[step] for scores in runs] for step in STAGES]
    return {
        "tif_minus_cam_least": min(s["sweep_tif"] - s["sweep_cam"] for s in runs),
        "crf_gain_least": min(s["score_masks"] - s["score_otsu"] for s in runs),
        "network_least": min(s["score_predictions"] for s in runs),
        "spread_largest": max(max(column) - min(column) for column in columns),
    }


def markdown(runs: Mapping[int, Scores]) -> str:
    """A row for each stage, a column for each seed, and the distance between the extremes."""
    header = ["stage", *(f"seed {seed}" for seed in runs), "spread"]
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    for step, name in STAGES.items():
        found = [scores[step] for scores in runs.values()]
        cells = [f"{value:.1f}" for value in (*found, max(found) - min(found))]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(
    json: Path | None = None,
    seeds: list[int] = [0, 1, 2, 3, 4],  # noqa: B006
    drawing: int = 0,
    folder: Path | None = None,
) -> None:
    """Run, and print the table and the numbers.

    Args:
        json: File to write the numbers to.
        seeds: Seeds of the trainings, one run each.
        drawing: Seed of the drawn images; the demo's is 0.
        folder: Keeps the runs, <folder>/<seed>, which must not be there; null keeps none.
    """
    runs, seconds = {}, []
    with tempfile.TemporaryDirectory() as temporary:
        for seed in seeds:
            place = (folder or Path(temporary)).resolve() / str(seed)
            seconds.append(run_demo(seed, drawing, place))
            runs[seed] = read_scores(place / "run")
            print(f"seed {seed}: {seconds[-1]:.0f} s", file=sys.stderr, flush=True)
    print(markdown(runs) + "\n")
    write_ratios({**summary(list(runs.values())), "seconds": max(seconds)}, json)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
