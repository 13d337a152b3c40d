"""normal_memory, and masks whose scores it joins."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.pipeline.conftest import ONE_SIZE
from wsss.data import write_mask
from wsss.pipeline.make_pseudo_masks import make_pseudo_masks
from wsss.pipeline.normal_memory import normal_memory
from wsss.pipeline.settings import parse_settings
from wsss.refinement.normal import NormalConfig
from wsss.refinement.normal.memory import NormalMemory
from wsss.refinement.steps import RefinementChain


@pytest.fixture
def plates(own_shapes):
    """The drawn data set, with three images of the training list that have no label."""
    labels = own_shapes.root / "labels.csv"
    lines = labels.read_text().splitlines()
    for number in (1, 2, 3):
        name = lines[number].split(",")[0]
        lines[number] = f"{name},"
        image = own_shapes.root / f"JPEGImages/{name}.jpg"
        noise = np.random.default_rng(number).integers(100, 120, (64, 72, 3)).astype(np.uint8)
        Image.fromarray(noise).save(image)
        write_mask(own_shapes.root / f"SegmentationClass/{name}.png", np.zeros((64, 72), np.uint8))
    labels.write_text("\n".join(lines) + "\n")
    return own_shapes


def test_a_memory_is_made_of_images_without_a_label_and_joins_the_scores(
    plates, classifier_checkpoint, tmp_path
):
    path = normal_memory(
        plates, classifier_checkpoint, tmp_path / "n", layers=("features.5",), device="cpu",
        cells=60,
    )  # fmt: skip
    assert path == tmp_path / "n/memory.npz"
    facts = json.loads((tmp_path / "n/manifest.json").read_text())
    assert facts["images"] >= 3
    memory = NormalMemory.read(path)
    assert [len(one.cells) for one in memory.memories] == [60 // facts["images"] * facts["images"]]
    settings = {
        "checkpoint": classifier_checkpoint, "multiscale": ONE_SIZE, "device": "cpu",
    }  # fmt: skip
    masks = {}
    for weight in (0.0, 1.0):
        step = NormalConfig(path, classifier_checkpoint, weight)
        made = make_pseudo_masks(
            plates, "val", tmp_path / f"m{weight}", crf=None,
            refine=RefinementChain((step,)), **settings,
        )  # fmt: skip
        masks[weight] = [file.read_bytes() for file in sorted(made.iterdir())]
    plain = make_pseudo_masks(plates, "val", tmp_path / "plain", crf=None, **settings)
    assert masks[0.0] == [file.read_bytes() for file in sorted(plain.iterdir())]
    assert masks[1.0] != masks[0.0]


def test_a_memory_of_another_network_is_refused(
    plates, classifier_checkpoint, tmp_path, other_checkpoint
):
    path = normal_memory(
        plates, classifier_checkpoint, tmp_path / "n", layers=("features.5",), device="cpu"
    )
    step = NormalConfig(path, other_checkpoint)
    with pytest.raises(ValueError, match=r"made by another network .*run normal_memory again"):
        make_pseudo_masks(
            plates, "val", tmp_path / "m", other_checkpoint, refine=RefinementChain((step,)),
            crf=None, device="cpu",
        )  # fmt: skip


@pytest.fixture
def other_checkpoint(classifier_checkpoint, tmp_path):
    """The same network with a byte more in its file."""
    import torch

    loaded = torch.load(classifier_checkpoint, weights_only=True)
    loaded["more"] = 1
    torch.save(loaded, tmp_path / "other.ckpt")
    return tmp_path / "other.ckpt"


def test_without_normal_images_it_says_so(shapes, classifier_checkpoint, tmp_path):
    with pytest.raises(ValueError, match="at least two images without a label in train, found"):
        normal_memory(shapes, classifier_checkpoint, tmp_path / "n", limit=1)


def test_its_step_is_read_from_yaml(tmp_path):
    step = {"kind": "normal", "memory": "n/memory.npz", "checkpoint": "c.ckpt", "weight": 0.2}
    given = {"data": {"root": "x"}, "output": "o", "split": "val", "refine": [step]}
    (found,) = parse_settings("make_pseudo_masks", given)["refine"].steps
    assert (found.memory.name, found.weight) == ("memory.npz", 0.2)
