"""Tiny towers of open_clip: random ones, and one whose weights tell colours apart."""

import json
from pathlib import Path

import torch

from wsss.models.clip_tower import CLIPTower, TowerConfig, build_tower
from wsss.models.text_classifier import TextClassifier
from wsss.normalisation import Normalisation

VISION = {"image_size": 32, "layers": 3, "width": 32, "head_width": 16, "patch_size": 8}
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
GREY = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def config_of(pooling="own", embed_dim=16, quick_gelu=False, **vision) -> TowerConfig:
    return TowerConfig(embed_dim, VISION | vision, quick_gelu, pooling)


def write_json(folder: Path, name="tiny-clip", text=None, **vision) -> Path:
    """A file of open_clip's own format."""
    file = folder / f"{name}.json"
    content = {"embed_dim": 16, "vision_cfg": VISION | vision, "text_cfg": TEXT | (text or {})}
    file.write_text(json.dumps(content))
    return file


def random_classifier(pooling="patches", classes=3, background=4, **vision) -> TextClassifier:
    """Float64, in eval mode."""
    torch.manual_seed(3)
    tower = build_tower(config_of(pooling, **vision))
    rows = torch.nn.functional.normalize(torch.randn(classes + background, 16), dim=1)
    return TextClassifier(tower, rows[:classes], rows[classes:], 10.0, GREY).double().eval()


def colour_tower(pooling="patches") -> CLIPTower:
    """One block: each token takes the mean of the tokens, those of its own colour more than others.

    Its channels are the patch's mean of red, green and blue, what they lack, and a constant; the
    first numbers of an embedding are red, green, blue and the constant.
    """
    tower = build_tower(config_of(pooling, layers=1, head_width=32))
    assert isinstance(tower, CLIPTower)
    block = tower.transformer.resblocks[0]
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.zero_()
        for norm in (tower.ln_pre, tower.ln_post, block.ln_1, block.ln_2):
            norm.weight.fill_(1)
        for c in range(3):
            tower.conv1.weight[c, c] = 1 / 64
            tower.conv1.weight[c + 3, c] = -1 / 64
        # of zero mean, as the colours: normalisation then scales alone
        tower.positional_embedding[:, 6:8] = torch.tensor([0.7, -0.7])
        eye = torch.eye(32)
        block.attn.in_proj_weight.copy_(torch.cat([eye, eye / 2, eye]))
        block.attn.out_proj.weight.copy_(eye)
        tower.proj[:3, :3] = torch.eye(3)
        tower.proj[6, 3] = 1
    return tower.eval()


def colour_classifier(pooling="patches") -> TextClassifier:
    """Red and green, on a background that is neither."""
    rows = torch.eye(16)
    # less blue: a red patch says nothing for or against green
    classes = (rows[:2] - rows[2]) / 2**0.5
    # mostly a direction in which no image lies: it is a little of every image
    background = 0.05 * rows[3:4] + (1 - 0.05**2) ** 0.5 * rows[9:10]
    return TextClassifier(colour_tower(pooling), classes, background, 10.0, GREY).eval()
