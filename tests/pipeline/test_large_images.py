"""Large images of four bands: from labels of tiles, or of whole images, to joined masks."""

import numpy as np
import pytest
import torch
import yaml

from tests.conftest import REPOSITORY, load_prepare
from wsss.data import DataConfig, load_records, read_mask
from wsss.data.datasets import Padded
from wsss.data.transforms import AugmentConfig, normalise
from wsss.errors import FaultsError
from wsss.models.backbones import BackboneConfig
from wsss.normalisation import Normalisation
from wsss.pipeline.check_data import check_data
from wsss.pipeline.run import run
from wsss.pipeline.settings import built
from wsss.pipeline.train_cls import train_cls
from wsss.tasks.classification import ClassificationData, ClassificationTask
from wsss.tasks.optim import OptimConfig
from wsss.tasks.trainer import TrainerConfig

pytest.importorskip("rasterio", reason="rasterio is not installed")


@pytest.fixture(scope="module")
def fields(tmp_path_factory):
    root = tmp_path_factory.mktemp("fields")
    load_prepare("fields").prepare(root, seed=1, side=192, train=2, val=1, tile=64)
    return root


def data_of(root, **tiles):
    values = yaml.safe_load((REPOSITORY / "configs/fields/data.yaml").read_text())
    tiles = {"size": 64, "overlap": 16, "labels": "tiles.csv"} | tiles
    return built(DataConfig, {**values, "root": str(root), "tiles": tiles}, "data")


@pytest.fixture(scope="module")
def ended(fields, tmp_path_factory):
    """The road of configs/fields, in small."""
    output = tmp_path_factory.mktemp("run")
    steps = yaml.safe_load((REPOSITORY / "configs/fields/run.yaml").read_text())["steps"]
    steps[0] |= {"epochs": 1, "augment": {"crop": 64, "long_side": None, "val_long_side": None}}
    steps[0]["trainer"] = {"workers": 0}
    steps[1] |= {"overlays": True, "background": {"threshold": 0.01}}
    segmenter = {
        "name": "segmenter",
        "command": "train_seg",
        "train_split": "val",
        "val_split": None,
        "masks": "{output}/masks/masks",
        "model": {"name": "deeplabv3plus", "backbone": "narrow_resnet10", "channels": 32},
        "backbone_weights": "{output}/classifier/last.ckpt",
        "augment": {"crop": 64, "long_side": None},
        "epochs": 1,
        "batch_size": 4,
        "trainer": {"workers": 0},
    }
    predicted = {
        "name": "predicted",
        "command": "predict",
        "checkpoint": "{output}/segmenter/last.ckpt",
        "images": str(fields / "images"),
        "tiles": {"size": 64, "overlap": 16},
    }
    run(data=data_of(fields), steps=[*steps, segmenter, predicted], output=output)
    return output


def test_the_joined_mask_is_that_of_the_tiles(ended, fields):
    whole = read_mask(ended / "masks/whole/val_0.png")
    assert whole.shape == read_mask(fields / "masks/val_0.png").shape
    assert whole.any()  # the threshold is so low that something is marked
    corner = read_mask(ended / "masks/masks/val_0/r00000_c00000.png")
    np.testing.assert_array_equal(whole[:40, :40], corner[:40, :40])
    last = read_mask(ended / "masks/masks/val_0/r00128_c00128.png")
    np.testing.assert_array_equal(whole[-40:, -40:], last[-40:, -40:])


def test_the_network_learns_from_tiles_and_segments_a_folder_of_large_images(ended):
    found = sorted(path.name for path in (ended / "predicted/whole").iterdir())
    assert found == ["train_0.png", "train_1.png", "val_0.png"]


def test_whole_images_are_scored(ended):
    assert "weed" in (ended / "score/eval.csv").read_text()


SMALL = AugmentConfig(crop=64, long_side=None, val_long_side=None)
FOUR = Normalisation((0.35,) * 4, (0.05,) * 4)


def trained(fields, output, normalisation, **settings):
    model = BackboneConfig("narrow_resnet10", normalisation=normalisation)
    return train_cls(
        data=data_of(fields, labels=None),
        output=output,
        model=model,
        augment=SMALL,
        epochs=1,
        batch_size=2,
        trainer=TrainerConfig(workers=0),
        **settings,
    )


@pytest.mark.parametrize("bag_tiles", [None, 3, 50])
def test_labels_of_whole_images_train_bags_of_tiles(fields, tmp_path, bag_tiles):
    assert trained(fields, tmp_path / "out", FOUR, bag_tiles=bag_tiles).is_file()


def test_kept_features_know_no_bags(fields, tmp_path):
    with pytest.raises(ValueError, match="features: cache knows no bags of tiles"):
        trained(fields, tmp_path / "out", FOUR, features="cache", freeze="all")


def test_bands_that_do_not_go_with_the_network_are_named(fields, tmp_path):
    with pytest.raises(ValueError, match=r"4 bands, and the network takes 3: data\.bands"):
        trained(fields, tmp_path / "out", None)


def test_a_class_is_in_a_bag_if_it_is_in_a_tile(fields):
    """The logit of a bag is the largest of its tiles; each tile is seen as it would be alone."""
    records = load_records(data_of(fields, labels=None), "train", with_labels=True)
    images = ClassificationData(
        records, records, normalisation=FOUR, augment=SMALL, batch_size=2, workers=0
    )
    assert len(images.train) == 2
    config = BackboneConfig("narrow_resnet10", normalisation=FOUR)
    torch.manual_seed(0)
    task = ClassificationTask(
        config, {"weed": 1, "stone": 2}, loss="bce", optim=OptimConfig(), freeze=None,
        freeze_batchnorm=False,
    ).eval()  # fmt: skip
    for bag, whole in zip(images.val_dataloader(), ("train_0", "train_1"), strict=True):
        tiles, _ = bag
        own = [record.read() for record in records if record.tile.whole == whole]
        with torch.no_grad():
            alone = [task.model(normalise(pixels, FOUR)[None]) for pixels in own]
            found = task.logits(task.whole, Padded(*tiles))
        torch.testing.assert_close(found, torch.cat(alone).amax(dim=0, keepdim=True))
        assert tiles.image.shape[1] == len(own) > 8  # more than are validated at once


def test_the_data_set_is_checked_by_its_tiles(fields, tmp_path):
    said = check_data(data_of(fields))
    labels = (fields / "tiles.csv").read_text()
    rows = [line for line in labels.splitlines() if line.startswith("train_")]
    weeds, stones = (sum(name in row for row in rows) for name in ("weed", "stone"))
    assert f"train: 18 tiles: weed {weeds}, stone {stones}" in said
    assert "192 x 192" in said
    (tmp_path / "tiles.csv").write_text(f"{labels}train_0,999,0,moss\n")
    with pytest.raises(FaultsError, match="'moss'") as raised:
        check_data(data_of(fields, labels=str(tmp_path / "tiles.csv")))
    assert "at row 999, column 0 ends outside" in str(raised.value)
