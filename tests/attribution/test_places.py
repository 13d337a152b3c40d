"""Layers are read as they lie: a square that is changed in the image is where a layer changes."""

import pytest
import torch
import torchvision
from torch import nn

from wsss.attribution import attribute, find_layers, usable_layers
from wsss.attribution.layout import grid_reader

SQUARES = ((0.3, 0.8), (0.75, 0.25), (0.2, 0.2))  # others than the trial's


def network(name: str) -> nn.Module:
    """With random weights, of which none is zero, so that every branch is seen."""
    import timm

    torch.manual_seed(0)
    library, _, model = name.rpartition("/")
    if library:
        net = torchvision.models.get_model(model, weights=None)
    else:
        net = timm.create_model(model, num_classes=5)
    for parameter in net.parameters():
        if parameter.abs().max() == 0:
            nn.init.normal_(parameter, std=0.05)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm):
            weight = module.weight
            if weight is not None and weight.abs().max() < 0.2:
                nn.init.uniform_(weight)
    return net.eval()


def answers(net: nn.Module, size: tuple[int, int], names: list[str]) -> dict[str, float]:
    """The chance that a cell in the changed square changes more than one outside, and, where that
    is larger, how much of the largest changes lies in it: 1 is best, and both are low elsewhere."""
    height, width = size
    generator = torch.Generator().manual_seed(7)
    image = nn.functional.interpolate(
        torch.randn(1, 3, 6, 6, generator=generator), size=size, mode="bicubic"
    )
    side = min(size) // 5
    batch = image.repeat(1 + len(SQUARES), 1, 1, 1)
    corners = []
    for number, (y, x) in enumerate(SQUARES, start=1):
        top, left = round(y * height - side / 2), round(x * width - side / 2)
        patch = torch.rand(3, side, side, generator=generator) * 4 - 2
        batch[number, :, top : top + side, left : left + side] = patch
        corners.append((top, left))
    kept = {}
    modules = dict(net.named_modules())

    def keep(name):
        def hook(module, inputs, output):
            kept[name] = grid_reader(module, output, batch.shape)(output)

        return hook

    handles = [modules[name].register_forward_hook(keep(name)) for name in names]
    with torch.no_grad():
        net(batch)
    for handle in handles:
        handle.remove()
    found = {}
    for name, cells in kept.items():
        change = (cells[1:] - cells[:1]).abs().sum(1)
        rows, columns = change.shape[1:]
        if rows * columns < 25 or change.max() == 0:
            continue
        shares, ranks = [], []
        for one, (top, left) in zip(change, corners, strict=True):
            inside = torch.zeros(rows, columns, dtype=torch.bool)
            inside[
                top * rows // height : -(-(top + side) * rows // height),
                left * columns // width : -(-(left + side) * columns // width),
            ] = True
            above = (one - one.median()).relu()
            count = int(inside.sum())
            shares.append(float(above[inside].sum() / above.flatten().topk(count).values.sum()))
            pairs = one[inside][:, None] > one[~inside][None]
            ranks.append(float(pairs.float().mean()))
        found[name] = max(sum(shares) / 3, sum(ranks) / 3)
    return found


NETWORKS = {
    "resnet18": (96, 160), "efficientnet_b0": (96, 160), "mobilevit_s": (128, 192),
    "convnext_femto": (128, 192), "torchvision/swin_t": (128, 192),
    "torchvision/swin_v2_t": (128, 192),
    "vit_tiny_patch16_224": (224, 224), "deit_tiny_distilled_patch16_224": (224, 224),
    "xcit_nano_12_p16_224": (160, 224), "edgenext_xx_small": (160, 224),
    "swin_tiny_patch4_window7_224": (224, 224), "mvitv2_tiny": (224, 224), "levit_128s": (224, 224),
    "hrnet_w18_small": (128, 192), "pvt_v2_b0": (128, 192), "cait_xxs24_224": (224, 224),
    "hiera_tiny_224": (224, 224), "nest_tiny_jx": (224, 224), "davit_tiny": (128, 192),
    "volo_d1_224": (224, 224), "mixer_s32_224": (224, 224), "torchvision/vit_b_32": (224, 224),
}  # fmt: skip
NO_MAPS = ("attn_drop", "q_norm", "k_norm", "norm_q", "norm_k", "softmax", "proj_l", "proj_w")
"""Parts of names of modules whose outputs are queries, keys or matrices."""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), NETWORKS.items(), ids=NETWORKS)
def test_every_layer_that_is_listed_lies_as_the_image_does(name, size):
    net = network(name)
    listed = usable_layers(net, torch.zeros(1, 3, *size))
    assert len(listed) >= 3
    assert not [layer for layer in listed if layer.rpartition(".")[2] in NO_MAPS]
    low = {layer: value for layer, value in answers(net, size, listed).items() if value < 0.3}
    assert not low


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("hiera_tiny_224", "blocks.0"),
        ("hiera_tiny_224", "blocks.4"),
        ("vit_tiny_patch16_224", "blocks.3.attn.q_norm"),
        ("torchvision/vit_b_32", "encoder.layers.encoder_layer_3.self_attention"),
        ("swin_tiny_patch4_window7_224", "layers.3.blocks.0.attn.softmax"),
        ("cait_xxs24_224", "blocks.0.attn.proj_l"),
        ("nest_tiny_jx", "levels.0.transformer_encoder.0"),
        ("mvitv2_tiny", "stages.1.blocks.0.attn.norm_q"),
    ],
)
def test_what_is_no_map_is_refused(name, layer):
    net = network(name)
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=rf"layer '{layer}'"):
        attribute(net, images, 1, method="layercam", layers=layer)
    assert layer not in usable_layers(net, images)


class Shuffled(nn.Module):
    """Patches as tokens, in rows or in an order of its own, in which ``mix`` works."""

    def __init__(self, order: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Conv2d(3, 16, 8, 8)
        self.mix = nn.Linear(16, 16)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 3)
        self.order = order

    def places(self, count: int, columns: int) -> torch.Tensor:
        index = torch.arange(count)
        rows = count // columns
        if self.order == "columns":
            return index.view(rows, columns).T.flatten()
        if self.order == "windows":
            return index.view(rows // 2, 2, columns // 2, 2).permute(0, 2, 1, 3).flatten()
        if self.order == "backwards":
            return index.flip(0)
        return index

    def forward(self, images):
        cells = self.embed(images)
        tokens = cells.flatten(2).transpose(1, 2)
        tokens = self.norm(self.mix(tokens[:, self.places(tokens.shape[1], cells.shape[3])]).relu())
        return self.head(tokens.mean(1))


IMAGES = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("order", ["columns", "windows", "backwards"])
@pytest.mark.parametrize("method", ["tif", "gradcam"])
def test_tokens_of_any_order_need_reshape(order, method):
    plain, net = Shuffled("rows").eval(), Shuffled(order).eval()
    assert usable_layers(plain, IMAGES) == ["embed", "mix", "norm"]
    assert usable_layers(net, IMAGES) == ["embed"]
    with pytest.raises(ValueError, match=r"layer 'mix': its cells do not lie .*reshape= takes"):
        attribute(net, IMAGES, [0, 1], method=method, layers="mix")

    def in_rows(tokens):
        back = torch.argsort(net.places(tokens.shape[1], 12))
        return tokens[:, back].transpose(1, 2).unflatten(2, (8, 12))

    expected = attribute(plain, IMAGES, [0, 1], method=method, layers="mix").maps
    found = attribute(net, IMAGES, [0, 1], method=method, layers="mix", reshape=in_rows).maps
    torch.testing.assert_close(found, expected)
    assert usable_layers(net, IMAGES, reshape=in_rows) == ["mix", "norm"]
    assert find_layers(net, IMAGES, reshape=in_rows)[-1] == "norm"


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (
            lambda tokens: tokens,
            r"reshape: expected \(B, C, h, w\) of \(2, 96, 16\), got \(2, 96, 16",
        ),
        (lambda tokens: None, "got NoneType"),
        (lambda tokens: tokens.transpose(1, 2).unflatten(2, (8, 12))[:1], r"got \(1, 16, 8, 12\)"),
    ],
)
def test_a_function_that_makes_no_map(function, words):
    with pytest.raises(ValueError, match=rf"layer 'mix': .*{words}"):
        attribute(Shuffled("rows").eval(), IMAGES, 1, layers="mix", reshape=function)


class Attention(nn.Module):
    """One block with its matrix of attention behind a module of any kind."""

    def __init__(self, behind: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Conv2d(3, 32, 8, 8)
        self.qkv = nn.Linear(32, 96)
        self.behind = behind
        self.head = nn.Linear(32, 3)

    def forward(self, images):
        tokens = self.embed(images).flatten(2).transpose(1, 2)
        heads = self.qkv(tokens).view(*tokens.shape[:2], 3, 4, 8).permute(2, 0, 3, 1, 4)
        weights = self.behind((heads[0] @ heads[1].transpose(2, 3)).softmax(-1))
        mixed = (weights @ heads[2]).transpose(1, 2).flatten(2)
        return self.head((tokens + mixed).mean(1))


@pytest.mark.parametrize(
    "behind", [nn.Identity(), nn.Dropout(), nn.ReLU(), nn.Sequential(nn.Identity())], ids=str
)
def test_a_matrix_of_attention_is_no_map(behind):
    net = Attention(behind).eval()
    images = IMAGES[:, :, :64, :64]  # 64 tokens, whose matrix is a square as the image is
    assert "behind" not in usable_layers(net, images)
    assert "qkv" in usable_layers(net, images)
    with pytest.raises(ValueError, match="layer 'behind': its cells do not lie"):
        attribute(net, images, 1, layers="behind", method="gradcam")


def test_the_trial_is_made_once_and_leaves_nothing(monkeypatch):
    net = Shuffled("rows").eval()
    passes = []
    handle = net.register_forward_pre_hook(lambda module, inputs: passes.append(len(inputs[0])))
    attribute(net, IMAGES, 1, layers="mix", method="gradcam")
    attribute(net, IMAGES, 1, layers="mix", method="gradcam")
    assert passes == [1, 1, 1, 1, 2, 2]
    handle.remove()
    assert not any(module._forward_hooks for module in net.modules())


def test_convolutions_are_not_tried():
    torch.manual_seed(0)
    net = torchvision.models.resnet18(weights=None).eval()
    passes = []
    net.register_forward_pre_hook(lambda module, inputs: passes.append(len(inputs[0])))
    attribute(net, IMAGES, 1, layers=["layer2", "layer4"])
    assert passes == [2]


@pytest.mark.parametrize(
    ("shape", "image", "last"),
    [
        ((2, 7, 7, 768), (224, 224), True),
        ((2, 768, 7, 7), (224, 224), False),
        ((2, 16, 24, 8), (128, 192), True),
        ((2, 8, 16, 24), (128, 192), False),
        ((2, 64, 64, 64), (256, 256), False),
        ((2, 2048, 8, 12), (299, 450), False),  # without padding
    ],
)
def test_layouts_by_square_cells(shape, image, last):
    tensor = torch.zeros(shape)
    read = grid_reader(nn.Identity(), tensor, torch.Size((2, 3, *image)))(tensor)
    expected = (shape[0], shape[3], *shape[1:3]) if last else shape
    assert tuple(read.shape) == expected


@pytest.mark.parametrize("shape", [(1, 3, 197, 64), (1, 16, 196, 128), (1, 4, 1, 196)])
def test_cells_that_are_not_square_are_refused(shape):
    with pytest.raises(ValueError, match=r"no square cells on an image of 224 x 224.*reshape="):
        grid_reader(nn.Identity(), torch.zeros(shape), torch.Size((1, 3, 224, 224)))


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_images_of_any_number_of_bands(channels):
    net = nn.Sequential(
        nn.Conv2d(channels, 8, 3, 2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    ).eval()
    found = attribute(net, torch.randn(1, channels, 48, 64), 1, layers="1", method="gradcam")
    assert found.maps.shape == (1, 48, 64)


def test_what_takes_one_image_at_a_time():
    net = Shuffled("rows").eval()

    def single(module, inputs):
        assert len(inputs[0]) == 1

    net.register_forward_pre_hook(single)
    assert attribute(net, IMAGES[:1], 1, layers="mix", method="gradcam").maps.any()


def test_what_is_too_coarse_to_be_seen_is_tried_again():
    net = Shuffled("columns").eval()
    attribute(net, IMAGES[..., :24, :24], 1, layers="mix", method="gradcam")
    with pytest.raises(ValueError, match="its cells do not lie"):
        attribute(net, IMAGES, 1, layers="mix", method="gradcam")
