"""The code of README and documentation runs as it stands there."""

import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.conftest import REPOSITORY


def test_the_five_lines_explain_a_photograph(tmp_path, monkeypatch):
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert 'weights="DEFAULT"' in code
    code = code.replace('weights="DEFAULT"', "weights=None")  # a download
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("dog.jpg")
    (tmp_path / "five_lines.py").write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "five_lines.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with Image.open("tif.png") as picture:
        assert picture.size == (128, 96)


def test_the_metrics_of_the_documentation(tmp_path):
    text = (REPOSITORY / "docs/evaluation.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    (tmp_path / "metrics.py").write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "metrics.py"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert [float(line) for line in done.stdout.split()] == pytest.approx([2 / 3, 2 / 3])
