"""Every `wsss ...` line of the documentation names a command and keys that there are."""

import dataclasses
import re
import shlex
from functools import cache
from typing import get_args

import pytest
import yaml

from tests.conftest import REPOSITORY
from wsss.cli import _with_underscores
from wsss.pipeline.commands import COMMANDS
from wsss.pipeline.settings import command_parser

PAGES = ["README.md", "CONTRIBUTING.md"] + [
    str(path.relative_to(REPOSITORY))
    for folder in ("docs", "data")
    for path in sorted((REPOSITORY / folder).rglob("*.md"))
]


def command_lines(text: str) -> list[list[str]]:
    """Words of each line of code that begins with `wsss`, continued lines joined."""
    joined = re.sub(r" *\\\n *", " ", text)
    # a quoted argument goes on in the next line, which ends no sentence
    joined = re.sub(r",\n {8,}(?! )", ", ", joined)
    found = re.findall(r"^ {4,}(?:[A-Z_]+=\S+ )*wsss ([a-z_]+ .*|[a-z_]+)$", joined, re.M)
    return [shlex.split(line.replace("...", ""), comments=True) for line in found]


@cache
def keys(command: str) -> dict[str, type | None]:
    """Keys of a command, and the dataclass that one may hold."""
    found = {}
    for action in command_parser(command, COMMANDS[command], for_shell=True)._actions:
        hints = (getattr(action, "_typehint", None), *get_args(getattr(action, "_typehint", None)))
        config = next((hint for hint in hints if dataclasses.is_dataclass(hint)), None)
        found |= {option.removeprefix("--"): config for option in action.option_strings}
    return found


def fault(words: list[str]) -> str | None:
    """What is wrong with a line, None if nothing is."""
    command, *rest = words
    if command not in COMMANDS:
        return f"no command {command}"
    known = keys(command)
    for word, value in zip(rest, [*rest[1:], ""], strict=True):
        if not word.startswith("--"):
            continue
        key, _, given = _with_underscores(word).removeprefix("--").partition("=")
        outer, _, inner = key.rpartition(".")
        nested = known.get(outer)
        if key not in known and not (
            nested and inner in {f.name for f in dataclasses.fields(nested)}
        ):
            return f"{command} has no key {key}"
        value = given or value
        if value.startswith("{"):
            config = known[key]
            below = {name.removeprefix(f"{key}.") for name in known if name.startswith(f"{key}.")}
            names = {f.name for f in dataclasses.fields(config)} if config else below
            unknown = set(yaml.safe_load(value)) - names
            if unknown and names:
                return f"{command}: {key} has no key {', '.join(unknown)}"
    return None


@pytest.mark.parametrize("page", PAGES)
def test_each_line_can_be_given(page):
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    assert [found for words in command_lines(text) if (found := fault(words))] == []


def test_lines_are_found():
    text = (
        "    wsss init mine   # a comment\n\nwsss init\n    wsss run \\\n        --config a.yaml\n"
    )
    assert command_lines(text) == [["init", "mine"], ["run", "--config", "a.yaml"]]
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert [words[0] for words in command_lines(readme)] == ["init", "check_data", "run", "predict"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("inti mine", "no command inti"),
        ("eval_miou --fail-under 0.6 --data d.yaml", None),
        ("eval_miou --fail_umder 0.6", "eval_miou has no key fail_umder"),
        ("make_pseudo_masks --crf '{bilateral_srgb: 8}' --no-save_scores", None),
        ("make_pseudo_masks --crf.bilateral_srgb 8 --tif '{alpha: 0.1}'", None),
        (
            "make_pseudo_masks --crf.bilateral_rgb 8",
            "make_pseudo_masks has no key crf.bilateral_rgb",
        ),
        ("make_pseudo_masks --tif '{alhpa: 0.1}'", "make_pseudo_masks: tif has no key alhpa"),
    ],
)
def test_faults_are_found(line, expected):
    assert fault(shlex.split(line)) == expected
