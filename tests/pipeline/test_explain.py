"""``wsss explain``: one photograph, the classes asked for or the classifier's own."""

import re

import numpy as np
import pytest
from PIL import Image

from wsss.cli import main
from wsss.data import load_records


@pytest.fixture
def photograph(shapes):
    return load_records(shapes, "val", with_labels=False)[0].image


def explain(photograph, checkpoint, output, *words):
    return main(
        ["explain", str(photograph), "--checkpoint", str(checkpoint), "--output", str(output),
         "--height", "72", "--device", "cpu", *words]
    )  # fmt: skip


def tiles(path, photograph):
    """How many pictures of the photograph's shape stand side by side."""
    with Image.open(path) as picture, Image.open(photograph) as image:
        return picture.width / (round(image.width * 72 / image.height) + 6)


def test_the_classes_asked_for(photograph, classifier_checkpoint, tmp_path):
    out = tmp_path / "new" / "out.png"
    assert explain(photograph, classifier_checkpoint, out, "--labels", "star", "bar") == 0
    assert tiles(out, photograph) == 3  # itself and two maps
    other = tmp_path / "other.png"
    arguments = ("--labels", "star", "bar", "--method", "cam")
    assert explain(photograph, classifier_checkpoint, other, *arguments) == 0
    assert not np.array_equal(np.asarray(Image.open(out)), np.asarray(Image.open(other)))


def test_what_one_class_has_that_the_other_has_not(photograph, classifier_checkpoint, tmp_path):
    pictures = []
    for number, words in enumerate(
        ([], ["--target.kind", "finer", "--target.against", "given", "--target.gamma", "1"])
    ):
        out = tmp_path / f"{number}.png"
        named = ("--labels", "star", "bar", "--method", "gradcam", *words)
        assert explain(photograph, classifier_checkpoint, out, *named) == 0
        pictures.append(np.asarray(Image.open(out)))
    assert not np.array_equal(*pictures)


def test_a_small_image_is_not_enlarged(photograph, classifier_checkpoint, tmp_path):
    """A classifier of images of 72 pixels takes one of 512 for something else."""
    with Image.open(photograph) as image:
        own = max(image.size)
    pictures = {}
    for side in (None, own, 512):
        out = tmp_path / f"{side}.png"
        sizes = ["--multiscale.scales=[1.0]", f"--multiscale.long_side={side}"] if side else []
        assert explain(photograph, classifier_checkpoint, out, "--labels", "star", *sizes) == 0
        pictures[side] = np.asarray(Image.open(out))
    assert np.array_equal(pictures[None], pictures[own])
    assert not np.array_equal(pictures[None], pictures[512])


def test_the_classifiers_own_classes(photograph, classifier_checkpoint, tmp_path):
    """An untrained one is sure of nothing: its best class is shown all the same."""
    out = tmp_path / "out.png"
    assert explain(photograph, classifier_checkpoint, out, "--top", "1") == 0
    assert tiles(out, photograph) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--labels", "moon"], "labels: moon not among the classes of .*: ring, star"),
        (["--layers", "['features.99']"], "these layers work: "),
        (["--top", "0"], "expected at least 1"),
        (["--method", "legrad"], "expected a vision transformer"),
        (["--target.gamma", "-1"], r"target\.gamma: expected at least 0, got -1"),
    ],
)
def test_bad_input_is_named(photograph, classifier_checkpoint, tmp_path, capsys, words, message):
    out = tmp_path / "out.png"
    assert explain(photograph, classifier_checkpoint, out, *words) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not out.exists()


def test_a_missing_photograph_is_named(classifier_checkpoint, tmp_path, capsys):
    assert explain(tmp_path / "no.jpg", classifier_checkpoint, tmp_path / "out.png") == 1
    assert "image not found" in capsys.readouterr().err
