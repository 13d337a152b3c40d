"""Chain of commands from one YAML file, skipping what is done, with one seed or several."""

import inspect
import json
import logging
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from wsss.data.atomic import atomic_write_text
from wsss.data.config import DataConfig
from wsss.parallel.environment import place_among_several
from wsss.pipeline.commands import COMMANDS
from wsss.pipeline.repeating.seeded import check_seeds, seed_folder, with_seed
from wsss.pipeline.repeating.spread import find_repeated
from wsss.pipeline.repeating.tables import FILES, format_spread, write_spread
from wsss.pipeline.reporting.runs import find_folders, load_evaluations
from wsss.pipeline.settings import parse_settings
from wsss.runs.settings import Settings, plain
from wsss.runs.steps import Steps

log = logging.getLogger(__name__)


class _Step(NamedTuple):
    """A parsed step.

    Args:
        name: Its name.
        command: Its command.
        settings: The command's typed parameters.
        stamp: File that says that the step has ended, and with which settings.
    """

    name: str
    command: str
    settings: dict[str, Any]
    stamp: Path


def run(data: DataConfig, steps: Steps, output: Path, seeds: list[int] | None = None) -> str | None:
    """Run commands one after another, and again with each of several seeds.

    A step whose folder says that it ended with the same settings is skipped, unless a step
    before it has just been run again. Each step is a line with its time in the log; while it
    runs, it stands on the terminal, or in the log where there is no terminal.

    With seeds, all steps run once for each, in a folder of its own; seeds.csv and seeds.json in the
    run's folder then hold mean, standard deviation and range of every score over the seeds.

    Args:
        data: The data set, given to every step that names neither data nor images.
        steps: For each step, its name, the command, and the command's parameters:
            {name: cls, command: train_cls, epochs: 5, ...}. Its folder is <output>/<name>. In
            values, {output} stands for the run's folder.
        output: Folder that receives one folder for each step.
        seeds: Numbers such as 0 1 2: the steps run with each in <output>/seed-<number>, for which
            {output} then stands. It becomes the seed of every step whose command has that key, and
            changes nothing else; a step that sets its seed itself is refused. null runs the steps
            once, as they are.

    Returns:
        A table of the scores over the seeds; None without several seeds or evaluations.
    """
    if place_among_several():
        raise ValueError(
            "run: expected one process; under torchrun or SLURM give the steps' commands one by "
            "one, or set trainer.devices of the trainings"
        )
    # all of them first: a wrong key of the last step shows before the first has run for hours
    if seeds is None:
        roads = {"": _parsed(steps, output, data)}
    else:
        check_seeds(seeds)
        roads = {
            f"seed {seed}, ": _parsed(with_seed(steps, seed), seed_folder(output, seed), data)
            for seed in seeds
        }
    for prefix, road in roads.items():
        _run_steps(road, prefix)
    return None if seeds is None else _over_seeds(output)


def _run_steps(steps: Sequence[_Step], prefix: str) -> None:
    """Run the steps that are not done; their lines in the log begin with the prefix."""
    fresh = False
    for number, step in enumerate(steps, start=1):
        title = f"{prefix}step {number} of {len(steps)}, {step.name}: {step.command}"
        function = COMMANDS[step.command].function
        wanted = Settings.of(function, step.settings)
        if not fresh and _is_done(step.stamp, wanted):
            log.info("%s is done", title)
            continue
        start = time.monotonic()
        with (
            # the step's line on the terminal stays below what the command logs
            logging_redirect_tqdm(),
            tqdm(desc=f"{title} ...", bar_format="{desc}", leave=False, disable=None) as shown,
        ):
            if shown.disable:
                log.info("%s ...", title)
            function(**step.settings)
        log.info("%s ... %s", title, _clock(time.monotonic() - start))
        # written only when the step has ended: one that was cut off is run again
        done = {"command": step.command, "settings": plain(step.settings)}
        atomic_write_text(step.stamp, json.dumps(done, indent=2))
        # what follows was made from older results
        fresh = True


def _over_seeds(output: Path) -> str | None:
    """Write the scores over all seeds that lie in a run's folder, and format their table."""
    remarks: list[str] = []
    folders = find_folders([output], remarks)
    repeated = find_repeated(folders, load_evaluations(folders, remarks), remarks)
    for remark in remarks:
        log.warning("%s", remark)
    if not repeated:
        return None
    write_spread(output, repeated)
    return f"{format_spread(repeated)}\nwrote {' and '.join(FILES)} in {output}"


def _parsed(steps: Iterable[dict[str, Any]], output: Path, data: DataConfig) -> list[_Step]:
    """Parse all steps of a folder, whose names must differ."""
    parsed = [_parse(number, step, output, data) for number, step in enumerate(steps, start=1)]
    names = [step.name for step in parsed]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"steps: two steps are named {', '.join(sorted(twice))}")
    return parsed


def _clock(seconds: float) -> str:
    """Format a time as a person says it: 0.4 s, 12 s, 3 min 05 s, 2 h 07 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _is_done(stamp: Path, wanted: Settings) -> bool:
    """Whether the step ended earlier with the settings that are wanted now."""
    if not stamp.is_file():
        return False
    done = json.loads(stamp.read_text(encoding="utf-8"))
    return done["command"] == wanted.command and not wanted.changed_since(done["settings"])


def _parse(number: int, step: dict[str, Any], output: Path, data: DataConfig) -> _Step:
    """Parse one step, which is checked before anything runs."""
    settings = {key: _fill(value, output) for key, value in step.items()}
    command = settings.pop("command", None)
    name = settings.pop("name", command)
    known = [name for name, entry in COMMANDS.items() if entry.step]
    if command not in known:
        raise ValueError(
            f"steps, number {number}: expected a command among {', '.join(known)}, got {command}"
        )
    if not isinstance(name, str) or not name or Path(name).name != name or name == "..":
        raise ValueError(f"steps, number {number}: expected a folder name, got {name!r}")
    if "output" in settings:
        raise ValueError(f"steps, {name}: the folder is {output / name}; leave output out")
    settings["output"] = str(output / name)
    takes_data = "data" in inspect.signature(COMMANDS[command].function).parameters
    if takes_data and "data" not in settings and "images" not in settings:
        # first: a step may change parts of it, as data.tiles
        settings = {"data": plain(data), **settings}
    try:
        return _Step(name, command, parse_settings(command, settings), output / name / "step.json")
    except ValueError as error:
        raise ValueError(f"steps, {name}: {error}") from error


def _fill(value: Any, output: Path) -> Any:
    """Replace {output} in texts at any depth."""
    if isinstance(value, str):
        return value.replace("{output}", str(output))
    if isinstance(value, dict):
        return {key: _fill(item, output) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, output) for item in value]
    return value
