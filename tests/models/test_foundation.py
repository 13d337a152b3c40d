"""Foundation models of timm as backbones: places, sizes, positions and published files."""

import pytest
import torch
from torch import nn

from tests.models.test_hidden import FAMILIES, SMALL, small_body
from wsss.models.backbones import BackboneConfig, build_backbone, load_body
from wsss.models.state_files import read_state
from wsss.models.timm_body import TimmBody
from wsss.normalisation import Normalisation

timm = pytest.importorskip("timm")
safetensors = pytest.importorskip("safetensors.torch")

CORNERS = [(0, 0), (0, -1), (-1, 0), (-1, -1)]


@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("name", FAMILIES)
def test_a_square_in_a_corner_is_found_there(name, corner):
    body = small_body(name)
    # 5 x 9 whole patches and a rest, which is resized away
    height, width = 45, 75
    blank = torch.zeros(1, 3, height, width)
    square = blank.clone()
    rows = slice(0, 9) if corner[0] == 0 else slice(height - 9, height)
    columns = slice(0, 8) if corner[1] == 0 else slice(width - 8, width)
    square[..., rows, columns] = 3.0
    with torch.no_grad():
        # blocks mix all patches; what a patch itself has changed by is left in it the most
        change = (body(square) - body(blank)).norm(dim=1)[0]
    assert change.shape == (5, 9)
    place = divmod(int(change.argmax()), 9)
    assert place == (corner[0] % 5, corner[1] % 9)


def test_positions_of_dinov2_with_registers_are_its_authors():
    body = small_body("vit_small_patch14_reg4_dinov2")
    tokens = torch.zeros(1, 5, 9, 32)
    found = body.network._pos_embed(tokens)[:, 5:]
    # facebookresearch/dinov2, interpolate_pos_encoding: antialias and no offset with registers
    own = body.network.pos_embed.reshape(1, 4, 4, 32).permute(0, 3, 1, 2)
    expected = nn.functional.interpolate(own, size=(5, 9), mode="bicubic", antialias=True)
    torch.testing.assert_close(found, expected.permute(0, 2, 3, 1).flatten(1, 2))


def test_positions_of_dinov2_without_registers_are_almost_its_authors():
    body = small_body("vit_small_patch14_dinov2")
    own = torch.randn(1, 32, 4, 4, generator=torch.Generator().manual_seed(0))
    # as smooth as positions that are learned
    own = nn.functional.interpolate(own, (37, 37), mode="bicubic")
    network = timm.create_model(
        "vit_small_patch14_dinov2", **SMALL, patch_size=1, img_size=37, dynamic_img_size=True
    )
    # the class token has a position of its own
    network.pos_embed.data[:, 1:] = own.permute(0, 2, 3, 1).flatten(1, 2)
    network.cls_token.data.zero_()
    found = network._pos_embed(torch.zeros(1, 50, 61, 32))[:, 1:]
    # facebookresearch/dinov2: a factor in place of a size, a tenth of a cell larger
    expected = nn.functional.interpolate(
        own, scale_factor=(50.1 / 37, 61.1 / 37), mode="bicubic", antialias=False
    )
    difference = (found - expected.permute(0, 2, 3, 1).flatten(1, 2)).norm() / expected.norm()
    assert float(difference) < 0.02
    assert body.network.num_prefix_tokens == 1


@pytest.mark.parametrize("name", FAMILIES)
def test_a_file_of_safetensors_is_loaded(name, tmp_path):
    torch.manual_seed(1)
    # with the head, the pooling and the norm that timm gives it
    options = {
        key: value for key, value in SMALL.items() if key not in ("num_classes", "global_pool")
    }
    whole = timm.create_model(name, **options, patch_size=8, img_size=32, num_classes=5)
    safetensors.save_file(whole.state_dict(), tmp_path / "model.safetensors")
    body = small_body(name)
    load_body(body, read_state(tmp_path / "model.safetensors"), source="file")
    with torch.no_grad():
        tokens = whole.eval().forward_features(torch.ones(1, 3, 32, 32))
        found = body(torch.ones(1, 3, 32, 32))
    cells = tokens[:, FAMILIES[name] :].transpose(1, 2).unflatten(2, (4, 4))
    if isinstance(whole.norm, nn.Identity):  # the norm is behind the mean: of cells it is plain
        cells = nn.functional.layer_norm(cells.permute(0, 2, 3, 1), (32,), eps=1e-6).permute(
            0, 3, 1, 2
        )
    torch.testing.assert_close(found, cells, atol=1e-5, rtol=1e-4)


def test_dinov2_as_its_authors_publish_it(tmp_path):
    torch.manual_seed(2)
    body = small_body("vit_small_patch14_reg4_dinov2")
    state = {key: value.clone() for key, value in body.network.state_dict().items()}
    published = {key: value for key, value in state.items() if key != "reg_token"}
    published["register_tokens"] = state["reg_token"]
    published["mask_token"] = torch.zeros(1, 32)
    # theirs has a position for the class token too
    published["cls_token"] = torch.zeros_like(state["cls_token"])
    published["pos_embed"] = torch.cat([state["cls_token"], state["pos_embed"]], dim=1)
    torch.save(published, tmp_path / "dinov2.pth")
    other = small_body("vit_small_patch14_reg4_dinov2")
    nn.init.zeros_(other.network.blocks[0].mlp.fc1.weight)
    load_body(other, read_state(tmp_path / "dinov2.pth"), source="file")
    images = torch.ones(1, 3, 40, 32)
    with torch.no_grad():
        torch.testing.assert_close(other(images), body(images))


def test_clip_as_its_authors_publish_it(tmp_path):
    open_clip = pytest.importorskip("open_clip")
    torch.manual_seed(3)
    model = open_clip.model.CLIP(
        embed_dim=24,
        vision_cfg=open_clip.CLIPVisionCfg(
            layers=3, width=32, head_width=16, image_size=32, patch_size=8
        ),
        text_cfg=open_clip.CLIPTextCfg(
            context_length=8, vocab_size=64, width=32, heads=2, layers=1
        ),
    ).eval()
    torch.save(model.state_dict(), tmp_path / "clip.pt")
    body = small_body("vit_base_patch16_clip_224")
    load_body(body, read_state(tmp_path / "clip.pt"), source="file")
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        tokens = model.visual.forward_intermediates(
            images, indices=1, normalize_intermediates=True, intermediates_only=True
        )["image_intermediates"][0]
        torch.testing.assert_close(body(images), tokens, atol=1e-5, rtol=1e-4)


def test_a_file_of_another_network_is_refused_by_name(tmp_path):
    safetensors.save_file({"patch_embed.proj.weight": torch.zeros(3)}, tmp_path / "w.safetensors")
    with pytest.raises(
        ValueError, match=r"weights w\.st do not fit this architecture; keys missing"
    ):
        load_body(small_body("vit_small_patch16_dinov3"), read_state(tmp_path / "w.safetensors"),
                  source="w.st")  # fmt: skip
    whole = (tmp_path / "w.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-4])
    with pytest.raises(ValueError, match=r"cannot read weights .*cut\.safetensors: .*damaged"):
        read_state(tmp_path / "cut.safetensors")


@pytest.mark.parametrize(
    ("name", "stride", "mean"),
    [
        ("vit_small_patch14_dinov2", 14, 0.485),
        ("vit_small_patch16_dinov3", 16, 0.485),
        ("eva02_tiny_patch14_224", 14, 0.48145466),
    ],
)
def test_by_name_with_their_own_normalisation(name, stride, mean):
    backbone = build_backbone(BackboneConfig(name=f"timm/{name}", output_stride=stride))
    assert isinstance(backbone.body, TimmBody)
    assert backbone.normalisation.mean[0] == pytest.approx(mean)
    assert isinstance(backbone.normalisation, Normalisation)
    assert backbone.layers == [f"network.blocks.{n}" for n in (2, 5, 8)] + [""]
