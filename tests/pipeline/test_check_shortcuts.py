"""check_shortcuts on drawn images: one class is told by its object, the other by a frame."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from wsss.data import DataConfig, read_image
from wsss.models import BackboneConfig, build_classifier
from wsss.normalisation import IMAGENET
from wsss.pipeline import check_shortcuts as module
from wsss.pipeline.check_shortcuts import check_shortcuts

CLASSES = {"red": 1, "green": 2}


class Colours(nn.Module):
    """A backbone of three channels: red, green and blue of each cell of four pixels."""

    def forward(self, images):
        mean = torch.tensor(IMAGENET.mean)[:, None, None]
        std = torch.tensor(IMAGENET.std)[:, None, None]
        colours = (images * std + mean).clamp(0, 1)
        cells = nn.functional.avg_pool2d(colours, 4)
        return (cells - cells.mean(dim=1, keepdim=True)).relu()


@pytest.fixture
def data(tmp_path):
    """Red squares; green squares, each with a blue frame around the image."""
    root = tmp_path / "data"
    root.mkdir()
    rows = ["image,labels,split"]
    for number in range(12):
        name = ("red", "green", "")[number % 3]
        pixels = np.full((96, 128, 3), 110, np.uint8)
        top, left = 20 + 3 * number, 30 + 4 * number
        if name:
            pixels[top : top + 20, left : left + 20, 0 if name == "red" else 1] = 250
        if name == "green":
            pixels[:8], pixels[-8:] = (0, 0, 255), (0, 0, 255)
        Image.fromarray(pixels).save(root / f"{number}.png")
        rows.append(f"{number}.png,{name},val")
    (root / "labels.csv").write_text("\n".join(rows))
    return DataConfig(
        root=root, classes=CLASSES, layout="csv", labels=Path("labels.csv"), images=Path()
    )


@pytest.fixture
def model(monkeypatch):
    """A classifier that tells red by red, and green by little green and much blue."""
    model = build_classifier(BackboneConfig("narrow_resnet10"), 2)
    model.backbone = Colours()
    model.default_layers = model.class_layers = ["backbone"]
    weight = torch.tensor([[400.0, -50.0, -50.0], [12.0, 0.0, 45.0]])
    model.head.weight = nn.Parameter(weight)
    model.head.forward = lambda features, size, box=None: (
        features[0].mean(dim=(2, 3)) @ model.head.weight.T - 3
    )
    monkeypatch.setattr(module, "load_classifier", lambda path, data: (model.eval(), CLASSES))
    return model


def found(output):
    return json.loads((output / "shortcuts.json").read_text())


class TestShortcuts:
    def test_numbers_of_both_classes(self, data, model, tmp_path):
        check_shortcuts(data, tmp_path / "x.ckpt", tmp_path / "out", method="cam", long_side=None)
        summary = found(tmp_path / "out")
        red, green = summary["classes"]["red"], summary["classes"]["green"]
        assert (red["images"], green["images"]) == (4, 4)
        assert red["probability"] > 0.8
        assert red["kept"] > 0.9
        assert red["left"] < 0.2
        assert red["separation"] == 1
        assert red["normal"] == 0
        # the blue frame is what CAM marks, and what the class is told by
        assert green["kept"] > 0.9
        assert green["area"] > red["area"]

    def test_a_class_told_by_what_the_map_does_not_mark_is_suspect(
        self, data, model, tmp_path, monkeypatch
    ):
        def pointing(model, part, k, configs):
            """Maps of the squares, whatever the classifier looks at."""
            seen = part[0] if part.dim() == 4 else part
            square = (seen[0] - seen[1]).abs().clamp_min(0)
            square[:8], square[-8:] = 0, 0
            return [type("Found", (), {"maps": square[None]})()]

        monkeypatch.setattr(module, "attribute_many", pointing)
        path = check_shortcuts(data, tmp_path / "x", tmp_path / "out", long_side=None)
        summary = found(tmp_path / "out")
        assert list(summary["suspect"]) == ["green"]
        assert summary["classes"]["green"]["kept"] < 0.3
        assert summary["classes"]["green"]["left"] > 0.8
        text = module.shown(path, {})
        assert "suspect: green: what its maps mark keeps 0." in text
        with (tmp_path / "out/images.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert [row["class"] for row in rows] == ["green"] * 4 + ["red"] * 4
        with (tmp_path / "out/classes.csv").open() as file:
            assert [row["suspect"] for row in csv.DictReader(file)] == ["no", "yes"]
        assert read_image(tmp_path / "out/shortcuts.png").shape[2] == 3

    def test_no_more_images_than_asked(self, data, model, tmp_path):
        check_shortcuts(
            data, tmp_path / "x", tmp_path / "o", method="cam", long_side=64, per_class=1,
            pictures=0,
        )  # fmt: skip
        assert {one["images"] for one in found(tmp_path / "o")["classes"].values()} == {1}
        assert not (tmp_path / "o/shortcuts.png").exists()

    @pytest.mark.parametrize(
        ("settings", "message"),
        [({"per_class": 0}, "per_class: expected"), ({"least": 1.5}, "least: expected 0..1")],
    )
    def test_numbers_out_of_range(self, data, tmp_path, settings, message):
        with pytest.raises(ValueError, match=message):
            check_shortcuts(data, tmp_path / "x", tmp_path / "o", **settings)
