"""Guides: what refinement steps are told of a photograph by networks, by names of their parts."""

import numpy as np
import pytest
import torch

from tests.models.test_segmenter import save_classifier
from wsss.data.transforms import normalise
from wsss.models.hidden import HiddenStates
from wsss.refinement.maps import Context, LabelMaps, Picture
from wsss.refinement.walk import WalkConfig, prepare_walk
from wsss.tasks.guides import Guides

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


@pytest.fixture
def checkpoint(tmp_path):
    pytest.importorskip("timm")
    return tmp_path / "c.ckpt", save_classifier(tmp_path / "c.ckpt", "timm/test_vit")


def test_keys_of_a_block_by_name(checkpoint):
    path, classifier = checkpoint
    names = ("network.blocks.1.keys", "network.blocks.0")
    found = Guides().features(IMAGE, path, names, None)
    pixels = normalise(IMAGE, classifier.normalisation)[None]
    expected = HiddenStates(classifier.eval().backbone, names)(pixels)
    for one, name in zip(found, names, strict=True):
        torch.testing.assert_close(torch.from_numpy(one), expected[name][0])
    # with the prefix that a whole network has, and again by the reader that is kept
    guides = Guides()
    for _ in range(2):
        again = guides.features(IMAGE, path, ["backbone.network.blocks.1.keys"], None)
        np.testing.assert_array_equal(again[0], found[0])


def test_its_own_layers(checkpoint):
    path, classifier = checkpoint
    found = Guides().features(IMAGE, path, None, 96)
    assert len(found) == len(classifier.default_layers)
    assert {one.shape[1:] for one in found} == {(4, 6)}, "72 x 96 pixels in whole patches of 16"


def test_a_walk_along_keys_and_a_part_that_is_not_there(checkpoint):
    path, _ = checkpoint
    maps = LabelMaps(np.random.default_rng(1).random((3, 48, 64)).astype(np.float32), False)
    context = Context("cpu", Guides())
    config = WalkConfig("features", path, layers=("network.blocks.1.keys",), cut=0.0, beta=1.0)
    (walked,) = prepare_walk([Picture(IMAGE)], config, context)([maps])
    assert np.abs(walked.values - maps.values).mean() > 0.05
    np.testing.assert_allclose(
        walked.values[1:].max(axis=(1, 2)), maps.values[1:].max(axis=(1, 2)), rtol=1e-5
    )
    config = WalkConfig("features", path, layers=("network.blocks.9.keys",))
    with pytest.raises(ValueError, match=r"walk\.layers: .*c\.ckpt: it has no layer 'network"):
        prepare_walk([Picture(IMAGE)], config, context)
