"""The code of README and documentation runs as it stands there."""

import re

import numpy as np
import pytest
from PIL import Image

from tests.conftest import REPOSITORY


@pytest.mark.slow
def test_the_six_lines_explain_a_photograph(tmp_path, monkeypatch):
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert 'weights="DEFAULT"' in code
    assert len(list(filter(None, code.splitlines()))) == 6
    code = code.replace('weights="DEFAULT"', "weights=None")  # a download
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("dog.jpg")
    # our own README's code: that it runs as it stands is what is tested
    exec(compile(code, "README.md", "exec"), {})
    with Image.open("tif.png") as picture:
        assert picture.size == (128, 96)


def test_the_metrics_of_the_documentation(capsys):
    text = (REPOSITORY / "docs/reference/evaluation.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    # our own documentation's code, as above
    exec(compile(code, "docs/reference/evaluation.md", "exec"), {})
    printed = capsys.readouterr().out.split()
    assert [float(line) for line in printed] == pytest.approx([2 / 3, 2 / 3])
