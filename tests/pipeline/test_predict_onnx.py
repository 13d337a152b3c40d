"""Masks from an ONNX file: as torch's, with torch installed and without."""

import configparser
import dataclasses
import inspect
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import REPOSITORY
from tests.pipeline.deploying.lively import write_lively_segmenter
from wsss.cli import command
from wsss.data import read_image, read_mask, read_scores
from wsss.data.tiles import TileConfig
from wsss.errors import IncompleteError
from wsss.pipeline.commands import COMMANDS
from wsss.pipeline.export_model import export_model
from wsss.pipeline.predict import InferenceConfig, predict
from wsss.pipeline.predict_onnx import predict_onnx
from wsss.runs.settings import Settings

pytest.importorskip("onnxruntime")

EXTRA = "onnx"


@pytest.fixture(scope="module")
def segmenter_checkpoint(tmp_path_factory) -> Path:
    return write_lively_segmenter(tmp_path_factory.mktemp("network") / "last.ckpt")


@pytest.fixture(scope="module")
def onnx(segmenter_checkpoint, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("onnx") / "o"
    return export_model(checkpoint=segmenter_checkpoint, output=output)


@pytest.fixture(scope="module")
def photographs(shapes) -> Path:
    return shapes.root / shapes.images


@pytest.fixture(scope="module")
def by_torch(segmenter_checkpoint, photographs, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("torch") / "o"
    predict(
        checkpoint=segmenter_checkpoint, images=photographs, output=output, save_scores=True,
        device="cpu", workers=1,
    )  # fmt: skip
    return output


def agreement(first: Path, second: Path) -> float:
    """Share of pixels with the same value in the masks of two outputs, of the same names."""
    names = sorted(path.name for path in (first / "masks").iterdir())
    assert names == sorted(path.name for path in (second / "masks").iterdir())
    pairs = [[read_mask(folder / "masks" / name) for folder in (first, second)] for name in names]
    same = [one == other for one, other in pairs]
    assert len({value for one, _ in pairs for value in np.unique(one)}) > 1
    return float(np.concatenate([one.ravel() for one in same]).mean())


@pytest.mark.slow
class TestWithTorch:
    """`predict` takes an ONNX file in the place of a checkpoint, with all that it does else."""

    def test_masks_and_scores(self, onnx, photographs, by_torch, tmp_path):
        predict(
            checkpoint=onnx, images=photographs, output=tmp_path / "o", save_scores=True,
            overlays=True, workers=1,
        )  # fmt: skip
        assert agreement(tmp_path / "o", by_torch) >= 0.9999
        for path in (by_torch / "scores").iterdir():
            ours = read_scores(tmp_path / "o" / "scores" / path.name)
            theirs = read_scores(path)
            assert np.array_equal(ours.classes, theirs.classes)
            # a byte that rounding has moved
            assert np.abs(ours.scores.astype(int) - theirs.scores).max() <= 1
        assert len(list((tmp_path / "o/overlays").iterdir())) == 18

    def test_given_labels(self, onnx, segmenter_checkpoint, shapes, tmp_path):
        for name, checkpoint in (("torch", segmenter_checkpoint), ("onnx", onnx)):
            predict(
                checkpoint=checkpoint, data=shapes, split="val", output=tmp_path / name,
                label_mode="given", device="cpu", workers=1,
                inference=InferenceConfig(scales=(0.75, 1.0), flip=True),
            )  # fmt: skip
        # the graph takes bytes: an image at three quarters is rounded to whole grey levels
        assert agreement(tmp_path / "onnx", tmp_path / "torch") >= 0.99

    def test_other_classes_are_refused(self, onnx, shapes, tmp_path):
        data = dataclasses.replace(shapes, classes={"ring": 1})
        with pytest.raises(ValueError, match="was trained on the classes"):
            predict(checkpoint=onnx, data=data, split="val", output=tmp_path / "o")


class TestOfTheSameName:
    """The command that is taken without torch."""

    def test_its_keys_mean_the_same(self):
        ours = inspect.signature(predict_onnx).parameters
        theirs = inspect.signature(predict).parameters
        for name, parameter in ours.items():
            assert parameter.default == theirs[name].default
            assert parameter.annotation == theirs[name].annotation
        texts = [inspect.getdoc(one).split("\n\n")[0] for one in (predict_onnx, predict)]
        assert texts[0] == texts[1] == COMMANDS["predict"].summary

    def test_a_folder_made_with_torch_goes_on(self, onnx, photographs, tmp_path):
        """Settings of the same command, as far as both know them."""
        values = {"checkpoint": onnx, "output": tmp_path, "images": photographs}
        ours = Settings.of(predict_onnx, _complete(predict_onnx, values))
        theirs = Settings.of(predict, _complete(predict, values))
        assert theirs.changed_since(ours.plain()) == []

    def test_masks_resume_and_files(self, onnx, photographs, by_torch, tmp_path):
        output = tmp_path / "o"
        predict_onnx(
            checkpoint=onnx, images=photographs, output=output, save_scores=True, workers=2
        )
        assert agreement(output, by_torch) >= 0.9999
        facts = json.loads((output / "manifest.json").read_text())
        assert (facts["complete"], facts["made_now"], facts["made_before"]) == (True, 18, 0)
        assert (output / "config.yaml").is_file()
        (output / "masks/val_0002.png").unlink()
        predict_onnx(
            checkpoint=onnx, images=photographs, output=output, save_scores=True, workers=1
        )
        facts = json.loads((output / "manifest.json").read_text())
        assert (facts["made_now"], facts["made_before"]) == (1, 17)

    def test_a_broken_photograph_is_named(self, onnx, photographs, tmp_path):
        folder = tmp_path / "photographs"
        folder.mkdir()
        for name in ("val_0000", "val_0001"):
            source = next(photographs.glob(f"{name}.*"))
            (folder / source.name).write_bytes(source.read_bytes())
        (folder / "broken.jpg").write_bytes(b"no photograph")
        with pytest.raises(IncompleteError, match=r"1 of 3 images failed: broken: .*broken\.jpg"):
            predict_onnx(checkpoint=onnx, images=folder, output=tmp_path / "o")
        assert len(list((tmp_path / "o/masks").iterdir())) == 2

    def test_tiles_are_joined(self, onnx, photographs, tmp_path):
        predict_onnx(
            checkpoint=onnx, images=photographs, output=tmp_path / "o", workers=1,
            tiles=TileConfig(size=48, overlap=16),
        )  # fmt: skip
        assert len(list((tmp_path / "o/whole").iterdir())) == 18
        size = read_image(next(photographs.glob("val_0000.*"))).shape[:2]
        assert read_mask(tmp_path / "o/whole/val_0000.png").shape == size

    def test_a_checkpoint_of_torch_is_refused(self, segmenter_checkpoint, photographs, tmp_path):
        with pytest.raises(ValueError, match=r"checkpoint: .* needs torch, .* give an \.onnx"):
            predict_onnx(checkpoint=segmenter_checkpoint, images=photographs, output=tmp_path / "o")


def _complete(function, values: dict) -> dict:
    parameters = inspect.signature(function).parameters
    return {name: values.get(name, parameter.default) for name, parameter in parameters.items()}


class TestWithoutTorch:
    """A virtual environment with the packages of the extra and no others."""

    @pytest.fixture
    def bare(self, tmp_path) -> Path:
        folder = tmp_path / "venv"
        venv.create(folder, with_pip=True)
        python = folder / "bin" / "python"
        install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        done = subprocess.run(
            [*install, *_packages_of(EXTRA)], capture_output=True, text=True, check=False,
            timeout=300,
        )  # fmt: skip
        if done.returncode != 0:
            pytest.skip(f"packages cannot be installed here: {done.stderr.strip()[-200:]}")
        return python

    def asked(self, python: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        return subprocess.run(
            [python, *map(str, words)], capture_output=True, text=True, check=False,
            env=environment, cwd="/",
        )  # fmt: skip

    @pytest.mark.slow
    def test_masks_are_those_of_torch(self, bare, onnx, photographs, by_torch, tmp_path):
        done = self.asked(bare, "-c", "import torch")
        assert "No module named 'torch'" in done.stderr
        output = tmp_path / "o"
        done = self.asked(
            bare, "-m", "wsss.cli", "predict", "--checkpoint", onnx, "--images", photographs,
            "--output", output, "--workers", "1", "--overlays", "true",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"wrote {output}/masks\n"
        assert agreement(output, by_torch) >= 0.9999
        done = self.asked(bare, "-m", "wsss.cli", "train_cls", "--help")
        assert done.returncode == 1
        assert done.stderr == "wsss train_cls: error: this command needs torch: pip install wsss\n"


def _packages_of(extra: str) -> list[str]:
    parser = configparser.ConfigParser()
    parser.read(REPOSITORY / "setup.cfg")
    lines = parser["options.extras_require"][extra].splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_the_chain_imports_no_torch():
    """What a bare environment runs, in one where torch could be imported."""
    code = (
        "import sys; import wsss.pipeline.predict_onnx, wsss.pipeline.settings, wsss.cli; "
        "import wsss.parallel.environment; "
        "heavy = {'torch', 'lightning_fabric', 'pycocotools', 'numba', 'scipy', 'filelock'}; "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_command_line_takes_it_where_torch_is_not_found(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("wsss.pipeline.commands.find_spec", lambda name: None)
    assert COMMANDS["predict"].function is predict_onnx
    words = ["--checkpoint", "m.ckpt", "--output", str(tmp_path / "o"), "--images", str(tmp_path)]
    assert command("predict", words) == 1
    assert "needs torch, which is not installed here" in capsys.readouterr().err
