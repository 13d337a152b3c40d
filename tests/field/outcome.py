"""What becomes of a folder: `init`, then the commands that it prints."""

import contextlib
import io
import re
import shlex
import traceback
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tests.field.folders import Drawn
from wsss.cli import main
from wsss.data import load_records
from wsss.pipeline.commands import COMMANDS
from wsss.pipeline.init import init
from wsss.pipeline.settings import command_parser

_STEPS = ("classifier", "scores", "threshold", "normal", "masks")


@dataclass
class Outcome:
    """How it ended.

    Args:
        ended: refused (by init), found (faults by check_data), stopped (by run), masks.
        text: All that was said.
        traceback: Of an error that is no clear message; empty without one.
        losses: What was neither used nor said.
    """

    ended: str
    text: str
    traceback: str = ""
    losses: list[str] = field(default_factory=list)


def outcome(drawn: Drawn, output: Path, *, run: bool) -> Outcome:
    """Take a folder as a new user would.

    Args:
        drawn: The folder.
        output: Receives what init and run write.
        run: Run the steps up to the masks too, with a small network and one epoch.
    """
    try:
        text = init(drawn.root, output)
    except (ValueError, OSError) as error:
        return _clear(drawn, "refused", str(error))
    except Exception:
        return Outcome("refused", "", traceback.format_exc())
    losses = _losses(drawn, output, text)
    code, said, trace = _command(_printed(text, "next") + " --min_images=1")
    if trace or code not in (0, 1, 4):
        return Outcome("found", said, trace or f"exit {code}: {said}")
    if code:
        found = _clear(drawn, "found", said)
        found.losses = [loss for loss in losses if not _is_said(drawn, loss, said)]
        return found
    if not run:
        return Outcome("masks", text, losses=losses)
    words = shlex.split(_printed(text, "then"))
    path = Path(words[words.index("--config") + 1])
    path.write_text(_small(path.read_text(encoding="utf-8")), encoding="utf-8")
    code, said, trace = _command(_printed(text, "then"))
    if trace or code not in (0, 1):
        return Outcome("stopped", said, trace or f"exit {code}: {said}", losses)
    if code:
        found = _clear(drawn, "stopped", said)
        found.losses = losses
        return found
    masks = list((output / "run/masks/masks").rglob("*.png"))
    train, _ = _splits(output)
    wanted = load_records(_data(output), train, with_labels=False)
    if len(masks) != len(wanted):
        losses.append(f"{len(masks)} masks of {len(wanted)} images")
    return Outcome("masks", text + said, losses=losses)


def _command(line: str) -> tuple[int, str, str]:
    """Run a command line here: exit code, what was said, and a traceback if one escaped."""
    words = shlex.split(line)
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            code = main(words[words.index("wsss") + 1 :])
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        return 1, out.getvalue(), traceback.format_exc()
    trace = out.getvalue() if "Traceback (most recent call last)" in out.getvalue() else ""
    return code, out.getvalue(), trace


def _printed(text: str, word: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(word)).partition(": ")[2]


def _clear(drawn: Drawn, ended: str, text: str) -> Outcome:
    """An end in words, which have to name a file or a folder of the data set."""
    files = [path.relative_to(drawn.root) for path in drawn.root.rglob("*")]
    names = {str(drawn.root), *(path.as_posix() for path in files), *(path.name for path in files)}
    named = any(name in text or repr(name)[1:-1] in text for name in names)
    return Outcome(ended, text, "" if named else f"names no file: {text}")


def _data(output: Path):
    parser = command_parser("train_cls", COMMANDS["train_cls"])
    words = [f"--data={output / 'data.yaml'}", "--output=x"]
    return parser.instantiate(parser.parse_args(words)).data


def _splits(output: Path) -> tuple[str, str]:
    steps = yaml.safe_load((output / "run.yaml").read_text(encoding="utf-8"))["steps"]
    return steps[0]["train_split"], steps[0]["val_split"]


def _losses(drawn: Drawn, output: Path, text: str) -> list[str]:
    """Photographs and labels that were drawn and are neither used nor spoken of."""
    data = _data(output)
    try:
        used = {
            record.image.resolve(): {
                name for name, flag in zip(data.classes, record.labels, strict=True) if flag
            }
            for split in _splits(output)
            for record in load_records(data, split, with_labels=True)
        }
    except (ValueError, OSError):
        return []  # check_data says what is wrong
    losses = []
    shown = {name for one in drawn.photographs for name in one.labels} - _NONE
    for name in sorted(shown - set(data.classes)):
        if drawn.plain and repr(name) not in text:
            losses.append(f"class {name!r}")
    for one in drawn.photographs:
        path = (drawn.root / one.path).resolve()
        said = one.witnesses & _words(text) or one.path in text or Path(one.path).name in text
        if path not in used:
            if not said and not _is_counted(text):
                losses.append(one.path)
            continue
        silent = {name for name in one.labels - _NONE if f"{name!r} is taken for no" not in text}
        # names that are read in another way are asked about
        if drawn.plain and used[path] != silent and "is read as" not in text:
            losses.append(f"{one.path}: {sorted(used[path])} for {sorted(one.labels)}")
    return losses


_NONE = {"background", "none"}


def _words(text: str) -> set[str]:
    """Words in quotes, file names and lists that a text speaks of."""
    return set(re.findall(r"'[^']*'", text)) | set(re.findall(r"[^\s:,]+", text))


def _is_counted(text: str) -> bool:
    """Whether images are spoken of by their number and an example."""
    kinds = [
        "are called as masks", "have no XML file", "are missing", "have no split", "are not used",
    ]  # fmt: skip
    return any(kind in text for kind in kinds)


def _is_said(drawn: Drawn, loss: str, text: str) -> bool:
    return loss in text or Path(loss).name in text


def _small(text: str) -> str:
    """The steps up to the masks, with a network that trains in a blink."""
    content = yaml.safe_load(text)
    steps = [step for step in content["steps"] if step["name"] in _STEPS]
    steps[0] |= {
        "model": {"name": "narrow_resnet10", "output_stride": 16}, "epochs": 1, "batch_size": 4,
        "augment": {"crop": 32, "long_side": None, "val_long_side": None},
        "trainer": {"workers": 0, "accelerator": "cpu"}, "freeze": None, "features": "compute",
    }  # fmt: skip
    if "stages" in steps[0]:
        steps[0]["stages"] = ["layer2", "layer3"]
    for step in steps[1:]:
        if "multiscale" in step:
            step["multiscale"] = {"scales": [1.0], "flip": False, "long_side": 48, "cell": 16}
        if step.get("crf"):
            step["crf"] = {"iterations": 1}
        if step["command"] == "normal_memory":
            step |= {"layers": ["layer2"], "long_side": 48}
    return yaml.safe_dump(content | {"steps": steps}, allow_unicode=True)
