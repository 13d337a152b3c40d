"""Where the cells of a layer's output lie: tokens, channels last, windows, images of any size."""

import pytest
import torch
import torchvision
from torch import nn

from tests.attribution.networks import LABELS, classifier, images
from wsss.attribution import attribute, usable_layers
from wsss.attribution.layout import grid_reader, token_grid


class TestLayouts:
    def test_tokens(self):
        assert token_grid(196, (224, 224)) == (14, 14)
        assert token_grid(197, (224, 224)) == (14, 14)  # a class token
        assert token_grid(201, (224, 224)) == (14, 14)  # and four registers
        assert token_grid(1 + 4 * 6, (64, 96)) == (4, 6)
        assert token_grid(1 + 6 * 4, (96, 64)) == (6, 4)
        assert token_grid(77, (224, 224)) is None
        assert token_grid(1 + 14 * 15, (232, 252)) == (14, 15)  # 16-pixel patches, rests left out
        for height in range(48, 400, 37):
            for width in range(48, 400, 29):
                rows, columns = height // 16, width // 16
                if min(rows, columns) > 8:
                    for prefix in (0, 1, 2, 5):
                        found = token_grid(rows * columns + prefix, (height, width))
                        assert found == (rows, columns)

    @pytest.mark.parametrize("side", [224, 384])  # at 384 a side of the grid is as long as C
    def test_swin_is_channels_last_and_convnext_is_not(self, side):
        for build, names, last in (
            (torchvision.models.swin_t, ["features.0", "features.1", "features.2", "norm"], True),
            (torchvision.models.convnext_tiny, [f"features.{i}" for i in range(4)], False),
        ):
            model = build(weights=None).eval()
            for name in names:
                module = model.get_submodule(name)
                channels = {"features.2": 192, "features.3": 192, "norm": 768}.get(name, 96)
                cells = {"features.2": side // 8, "features.3": side // 8, "norm": side // 32}.get(
                    name, side // 4
                )
                shape = (1, cells, cells, channels) if last else (1, channels, cells, cells)
                batch = torch.Size((1, 3, side, side))
                grid = grid_reader(module, torch.zeros(shape), batch)(torch.zeros(shape))
                assert grid.shape == (1, channels, cells, cells), (name, side)

    def test_a_module_without_layers_is_read_by_the_images_shape(self):
        output = torch.zeros(1, 12, 20, 96)
        batch = torch.Size((1, 3, 192, 320))
        assert grid_reader(nn.Dropout(), output, batch)(output).shape == (1, 96, 12, 20)
        output = torch.zeros(1, 96, 12, 20)
        assert grid_reader(nn.ReLU(), output, batch)(output).shape == (1, 96, 12, 20)

    @pytest.mark.parametrize("name", ["vit_b_16", "swin_t"])
    def test_cells_lie_where_their_pixels_are(self, name):
        """A changed patch moves the cell that is there most, windows shifted or not."""
        model = classifier(name)
        stride = 16 if name == "vit_b_16" else 4
        layer = model.default_layers[0]
        module = model.get_submodule(layer)
        kept = []
        handle = module.register_forward_hook(lambda m, i, o: kept.append(o))
        before = images((128, 160))[:1]
        after = before.clone()
        rows, columns = slice(96, 112), slice(32, 48)
        after[..., rows, columns] += 5
        with torch.no_grad():
            model(before), model(after)
        handle.remove()
        read = grid_reader(module, kept[0], before.shape)
        change = (read(kept[1]) - read(kept[0])).norm(dim=1)[0]
        row, column = divmod(int(change.argmax()), change.shape[1])
        assert 96 <= (row + 0.5) * stride < 112
        assert 32 <= (column + 0.5) * stride < 48

    def test_torchvisions_own_vit_and_its_class_token(self):
        torch.manual_seed(0)
        model = torchvision.models.vit_b_16(weights=None, num_classes=4, image_size=64).eval()
        nn.init.normal_(model.heads.head.weight)
        batch = images((64, 64))
        last = "encoder.layers.encoder_layer_11"
        with pytest.raises(ValueError, match=f"{last}': only its class token reaches the logits"):
            attribute(model, batch, LABELS, layers=[last])
        maps = attribute(model, batch, LABELS, layers=["encoder.layers.encoder_layer_10"]).maps
        assert (maps.amax((1, 2)) > 0).all()
        inside = attribute(model, batch, LABELS, layers=[f"{last}.ln_1"], method="gradcam").maps
        assert torch.isfinite(inside).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit_b_16", "swin_t", "timm/vit_tiny_patch16_224"])
def test_transformers_take_images_of_any_size(name):
    model = classifier(name)
    for size in ((232, 252), (77, 130)):
        maps = attribute(model, images(size), LABELS).maps
        assert maps.shape == (3, *size)
        assert torch.isfinite(maps).all()


def test_windows_are_not_taken_for_images():
    import timm

    model = timm.create_model("swin_tiny_patch4_window7_224", num_classes=4).eval()
    batch = images((224, 224))
    usable = usable_layers(model, batch)
    assert "layers.0.blocks.0" in usable
    assert not any("layers.0.blocks.0.attn" in name for name in usable)
    with pytest.raises(ValueError, match=r"for 1 images; expected one row an image"):
        attribute(model, batch, LABELS, layers=["layers.0.blocks.0.attn"])
