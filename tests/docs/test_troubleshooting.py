"""Each message that docs/troubleshooting.md explains is one that the source has."""

import ast
import re

import pytest

from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs/troubleshooting.md").read_text(encoding="utf-8")
MESSAGES = re.findall(r"^- \*\*`(.+?)`\*\*:", PAGE, flags=re.MULTILINE)


def texts(source: str) -> set[str]:
    """String constants of a file; values in f-strings and in % formats are newlines."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            parts = (v.value if isinstance(v, ast.Constant) else "\n" for v in node.values)
            found.add("".join(parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(re.sub(r"%[sdg]", "\n", node.value))
    return found


@pytest.fixture(scope="module")
def source() -> str:
    files = sorted((REPOSITORY / "wsss").rglob("*.py"))
    return "\0".join(t for file in files for t in texts(file.read_text(encoding="utf-8")))


def pattern(message: str) -> str:
    """What a message looks like in the source: `...` is anything within one text."""
    return "[^\0]*?".join(re.escape(part.strip()) for part in message.split("..."))


def test_the_page_has_messages():
    assert len(MESSAGES) >= 40
    assert len(set(MESSAGES)) == len(MESSAGES)


@pytest.mark.parametrize("message", MESSAGES)
def test_the_source_has_it(message, source):
    assert re.search(pattern(message), source), message


@pytest.mark.parametrize(
    ("message", "there"),
    [("images ... are", True), ("images ... gone", False), ("4 images", False)],
)
def test_the_test_finds_what_it_looks_for(message, there):
    known = "\0".join(texts('f"{n} images of {split} are here"\nlog("gone %s", x)'))
    assert bool(re.search(pattern(message), known)) == there
