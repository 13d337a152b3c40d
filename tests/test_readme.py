"""The code of README and documentation runs as it stands there, and their numbers agree."""

import re

import numpy as np
import pytest
from PIL import Image

from tests.conftest import REPOSITORY
from wsss.attribution import METHODS

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def page(name: str) -> str:
    return (REPOSITORY / "docs" / name).read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_six_lines_explain_a_photograph(tmp_path, monkeypatch):
    [code] = re.findall(r"```python\n(.*?)```", page("how-to/explain.md"), flags=re.DOTALL)
    assert 'weights="DEFAULT"' in code
    assert len(list(filter(None, code.splitlines()))) == 6
    code = code.replace('weights="DEFAULT"', "weights=None")  # a download
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("dog.jpg")
    # our own documentation's code: that it runs as it stands is what is tested
    exec(compile(code, "explain.md", "exec"), {})
    with Image.open("tif.png") as picture:
        assert picture.size == (128, 96)


def test_the_metrics_of_the_documentation(capsys):
    [code] = re.findall(r"```python\n(.*?)```", page("reference/evaluation.md"), flags=re.DOTALL)
    # our own documentation's code, as above
    exec(compile(code, "evaluation.md", "exec"), {})
    printed = capsys.readouterr().out.split()
    assert [float(line) for line in printed] == pytest.approx([2 / 3, 2 / 3])


def test_the_number_of_methods():
    assert f"by {len(METHODS)} methods" in page("how-to/explain.md")
    assert f"there are {len(METHODS) - 1} others" in page("concepts.md")


def test_the_readme_is_short_and_shows_before_it_tells():
    assert len(README.splitlines()) <= 120
    order = ["![", "## Two commands", "## Your own photographs", "|---|", "## Where to go on"]
    places = [README.index(mark) for mark in order]
    assert places == sorted(places)
    tables = [line for line in README.splitlines() if line.startswith("|---|")]
    assert len(tables) == 1


def test_the_numbers_of_the_readme_are_those_of_the_lab_book():
    measured = page("experiments/results.md")
    rows = [line.split("|") for line in README.splitlines() if line.startswith("| ")]
    numbers = re.findall(r"\d+\.\d", " ".join(row[3] for row in rows))
    assert len(numbers) == 16
    missing = [number for number in numbers if number not in measured]
    assert missing == []
