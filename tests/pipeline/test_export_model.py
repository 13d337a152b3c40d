"""Exported files: what they say of themselves, what they refuse, and eight bits beside float32."""

import json

import numpy as np
import pytest
import torch

from tests.conftest import SHAPES
from tests.pipeline.conftest import manifest
from tests.pipeline.deploying.lively import write_lively_segmenter
from wsss.data import load_records, read_image, voc_palette
from wsss.data.storage import file_sha256
from wsss.deployed import OnnxNetwork
from wsss.pipeline.deploying import checking
from wsss.pipeline.deploying.graphs import read_program
from wsss.pipeline.deploying.quantising import QuantiseConfig, calibration
from wsss.pipeline.export_model import export_model, shown

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def segmenter_checkpoint(tmp_path_factory):
    return write_lively_segmenter(tmp_path_factory.mktemp("network") / "last.ckpt")


@pytest.fixture(scope="module")
def exported(shapes, segmenter_checkpoint, tmp_path_factory):
    """A segmenter in float32 and eight bits, calibrated on train and scored on val."""
    return export_model(
        checkpoint=segmenter_checkpoint,
        output=tmp_path_factory.mktemp("exported") / "o",
        licence="CC0: drawn by data/shapes/prepare.py",
        data=shapes,
        quantise=QuantiseConfig(split="train", count=5, score="val"),
    )


@pytest.mark.slow
class TestSegmenter:
    def test_the_file_describes_itself(self, exported, segmenter_checkpoint):
        found = OnnxNetwork(exported).description
        assert found.kind == "segmenter"
        assert found.classes == SHAPES
        assert found.mask_values == [0, 1, 2, 3, 4, 5]
        assert found.palette[1] == "#" + voc_palette()[1].tobytes().hex()
        assert found.licence == "CC0: drawn by data/shapes/prepare.py"
        assert found.checkpoint_sha256 == file_sha256(segmenter_checkpoint)
        assert (found.bits, found.size, found.least_side) == (32, None, 32)

    def test_eight_bits_are_smaller_and_nearly_the_same(self, exported):
        facts = manifest(exported.parent)
        small = exported.parent / facts["int8"]["file"]
        assert OnnxNetwork(small).description.bits == 8
        assert small.stat().st_size < 0.4 * exported.stat().st_size
        assert facts["calibrated_on"] == [f"train_{i:04d}" for i in (0, 3, 6, 8, 11)]
        assert facts["scored"] == {"list": "val", "images": 6}
        assert facts["miou"]["int8"] == pytest.approx(facts["miou"]["float32"], abs=0.05)
        assert facts["miou"]["int8"] != facts["miou"]["float32"]
        assert json.loads((exported.parent / "model.json").read_text())["bits"] == 32
        text = shown(exported, {})
        assert f"mIoU on 6 images of val: float32 {facts['miou']['float32']:.4f}, int8" in text

    def test_other_bands_and_smaller_images_are_refused(self, exported):
        network = OnnxNetwork(exported)
        with pytest.raises(ValueError, match=r"the image has 4 bands, and the network of .* takes"):
            network.run(np.zeros((1, 40, 40, 4), np.uint8), "mask")
        with pytest.raises(ValueError, match="images of at least 32 pixels a side, got 40 x 31"):
            network.run(np.zeros((1, 31, 40, 3), np.uint8), "mask")

    def test_again_into_the_same_folder(self, exported, segmenter_checkpoint):
        with pytest.raises(ValueError, match=r"output: .* holds results of another configuration"):
            export_model(checkpoint=segmenter_checkpoint, output=exported.parent)


@pytest.mark.slow
def test_a_classifier_with_maps_by_torch_export(classifier_checkpoint, shapes, tmp_path):
    path = export_model(
        checkpoint=classifier_checkpoint, output=tmp_path / "o", format="torch_export", maps=True
    )
    assert path.name == "model.pt2"
    program, description = read_program(path)
    assert (description.kind, description.outputs) == ("classifier", ("probabilities", "maps"))
    image = read_image(load_records(shapes, "val", with_labels=False)[0].image)
    probabilities, maps = program(torch.from_numpy(image)[None])
    assert probabilities.shape == (1, 5)
    assert maps.shape == (1, 5, *image.shape[:2])


@pytest.mark.slow
def test_a_file_for_one_size(segmenter_checkpoint, tmp_path):
    path = export_model(checkpoint=segmenter_checkpoint, output=tmp_path / "o", size=(40, 56))
    network = OnnxNetwork(path)
    (mask,) = network.run(np.zeros((3, 40, 56, 3), np.uint8), "mask")
    assert mask.shape == (3, 40, 56)
    with pytest.raises(ValueError, match="takes images of 56 x 40 pixels alone, got 56 x 41"):
        network.run(np.zeros((1, 41, 56, 3), np.uint8), "mask")


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"size": (31, 64)}, r"size: expected at least 32 pixels a side, got \[31, 64\]"),
            ({"maps": True}, "maps: a segmentation network has masks"),
            (
                {"format": "torch_export", "quantise": QuantiseConfig(split="train")},
                "quantise: onnxruntime quantises its own format",
            ),
            ({"quantise": QuantiseConfig(split="train")}, "quantise: split and score name lists"),
        ],
    )
    def test_settings(self, segmenter_checkpoint, tmp_path, changes, message):
        with pytest.raises(ValueError, match=message):
            export_model(checkpoint=segmenter_checkpoint, output=tmp_path / "o", **changes)
        assert not (tmp_path / "o").exists()

    def test_masks_score_no_classifier(self, classifier_checkpoint, shapes, tmp_path):
        config = QuantiseConfig(split="train", score="val")
        with pytest.raises(ValueError, match=r"quantise\.score: masks score a segmenter"):
            export_model(
                checkpoint=classifier_checkpoint, output=tmp_path, data=shapes, quantise=config
            )

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({}, "quantise: give either images or split"),
            ({"split": "train", "count": 0}, r"quantise\.count: expected at least 1, got 0"),
            ({"split": "train", "long_side": 8}, r"quantise\.long_side: expected at least 32"),
        ],
    )
    def test_quantisation(self, values, message):
        with pytest.raises(ValueError, match=message):
            QuantiseConfig(**values)


class TestCalibration:
    def test_what_is_scored_is_left_out(self, shapes, tmp_path):
        """Also where the same files come from a folder."""
        config = QuantiseConfig(images=shapes.root / shapes.images, count=100, score="val")
        found = calibration(config, shapes, tmp_path, 3)
        assert {one.image_id.split("_")[0] for one in found} == {"train"}
        assert len(found) == 12

    def test_nothing_is_left(self, shapes, tmp_path):
        with pytest.raises(ValueError, match="quantise: all images are of the list 'val'"):
            calibration(QuantiseConfig(split="val", score="val"), shapes, tmp_path, 3)


class TestCheck:
    """A graph that is wrong at some sizes is found, whatever made it so."""

    class Network(torch.nn.Module):
        def forward(self, images):
            return (images.float().mean((1, 2)),)

    def run_from(self, least):
        def run(images):
            ours = images.astype(np.float32).mean((1, 2))
            return [ours if min(images.shape[1:3]) >= least else ours + 0.1]

        return run

    @pytest.mark.parametrize(("least", "found"), [(1, 32), (65, 97), (98, 227), (230, 325)])
    def test_the_least_side_is_one_that_was_looked_at(self, least, found):
        network = self.Network()
        assert checking.least_side(network, self.run_from(least), 3, checking.SIZES) == found

    def test_wrong_at_all(self):
        with pytest.raises(ValueError, match=r"they differ by 0\.1 at 418 x 325 pixels"):
            checking.least_side(self.Network(), self.run_from(1000), 3, checking.SIZES)

    def test_a_graph_that_fails(self):
        def run(images):
            raise ValueError("another size")

        with pytest.raises(ValueError, match="they differ by inf at"):
            checking.least_side(self.Network(), run, 3, checking.SIZES)
