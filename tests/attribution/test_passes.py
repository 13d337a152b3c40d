"""Methods with passes of their own, against slow references in float64."""

import copy

import pytest
import torch
from torch import nn

from wsss.attribution import METHODS, TargetConfig, attribute

CLASS = 1


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(5)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, stride=2), nn.ReLU(), nn.Conv2d(6, 5, 3, padding=1),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4),
    ).double().eval()  # fmt: skip


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, 12, 16, generator=torch.Generator().manual_seed(2)).double()


def features(model, images):
    return model[:4](images).detach()


def expected_map(weights, grid, size=(12, 16)):
    found = (weights[:, None, None] * grid).sum(0).relu()
    return nn.functional.interpolate(found[None, None], size, mode="bilinear", align_corners=False)[
        0, 0
    ]


@pytest.mark.parametrize("batch", [None, 1, 3])
def test_scorecam(model, images, batch):
    found = attribute(model, images, CLASS, method="scorecam", layers="3", batch=batch).maps
    for image, grid, one in zip(images, features(model, images), found, strict=True):
        scores = []
        for channel in grid:
            mask = (channel - channel.min()) / (channel.max() - channel.min()).clamp_min(1e-300)
            mask = nn.functional.interpolate(
                mask[None, None], (12, 16), mode="bilinear", align_corners=False
            )
            scores.append(model(image * mask)[0, CLASS])
        torch.testing.assert_close(one, expected_map(torch.stack(scores).softmax(0), grid).detach())


@pytest.mark.parametrize("batch", [None, 2])
@pytest.mark.parametrize("k", range(4))
def test_ablationcam(model, images, batch, k):
    found = attribute(model, images, k, method="ablationcam", layers="3", batch=batch).maps
    scores = model(images)[:, k].detach()
    for score, grid, one in zip(scores, features(model, images), found, strict=True):
        weights = []
        for channel in range(len(grid)):
            without = grid.clone()
            without[channel] = 0
            weights.append((score - model[4:](without[None])[0, k]) / score.abs())
        torch.testing.assert_close(one, expected_map(torch.stack(weights), grid).detach())


def test_ablation_where_the_score_is_0(images):
    class Zero(nn.Module):
        def __init__(self, body, image):
            super().__init__()
            self.body, self.zero = body, body(image).detach()

        def forward(self, x):
            return self.body(x) - self.zero

    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    ).double()
    found = attribute(Zero(body, images[:1]), images[:1], 1, method="ablationcam", layers="body.1")
    assert torch.isfinite(found.maps).all()


@pytest.mark.parametrize("scale", [1e-18, 1e18])
def test_eigencam_of_very_small_and_very_large_features(model, images, scale):
    class Scaled(nn.Module):
        def forward(self, x):
            return x * scale

    network = copy.deepcopy(nn.Sequential(*model[:4], Scaled(), *model[4:])).float()
    found = attribute(network, images.float(), 0, method="eigencam", layers="4").maps
    usual = attribute(network, images.float(), 0, method="eigencam", layers="3").maps
    torch.testing.assert_close(found / found.max(), usual / usual.max(), rtol=1e-4, atol=1e-4)


def test_ablation_of_tokens_takes_a_channel_of_every_cell():
    """Channels last: what is a view is set to 0 in place."""

    class Last(nn.Module):
        def forward(self, x):
            return x.movedim(1, -1)

    torch.manual_seed(0)
    back = nn.Sequential(nn.LayerNorm(6), nn.Flatten(1, 2))
    model = nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), Last(), back, Mean(), nn.Linear(6, 3))
    model = model.double().eval()
    image = torch.randn(1, 3, 32, 24, dtype=torch.float64)
    found = attribute(model, image, 2, method="ablationcam", layers="2.0", size=(8, 6)).maps[0]
    cells = model[:2](image)
    normed = back[0](cells).detach()
    score = model(image)[0, 2]
    weights = []
    for channel in range(6):
        without = normed.clone()
        without[..., channel] = 0
        weights.append((score - model[3:](without.flatten(1, 2))[0, 2]) / score.abs())
    expected = torch.einsum("k,hwk->hw", torch.stack(weights), normed[0]).relu()
    torch.testing.assert_close(found, expected.detach())


class Mean(nn.Module):
    def forward(self, tokens):
        return tokens.mean(dim=1)


@pytest.mark.parametrize("probability", ["sigmoid", "softmax"])
def test_shapleycam(model, images, probability):
    """The Hessian written out, entry by entry."""
    target = TargetConfig("rest", probability=probability)
    found = attribute(
        model, images[:1], CLASS, method="shapleycam", layers="3", target=target
    ).maps[0]
    grid = features(model, images[:1])

    def score(flat):
        logits = model[4:](flat.view(grid.shape))[0]
        log = logits.log_softmax(0) if probability == "softmax" else logits.sigmoid().log()
        return logits[CLASS] + log[CLASS]

    flat = grid.flatten()
    gradient = torch.autograd.functional.jacobian(score, flat)
    bend = torch.autograd.functional.hessian(score, flat) @ flat
    assert bend.abs().max() > 1e-6
    weights = (gradient - bend / 2).view(grid.shape).mean(dim=(2, 3))[0]
    torch.testing.assert_close(found, expected_map(weights, grid[0]))


def test_shapleycam_of_a_logit_of_a_piecewise_linear_network_is_gradcam(model, images):
    found = attribute(
        model, images, CLASS, method="shapleycam", layers="3", target=TargetConfig("logit")
    )
    torch.testing.assert_close(
        found.maps, attribute(model, images, CLASS, method="gradcam", layers="3").maps
    )


def test_shapleycam_behind_fused_attention():
    """Fused kernels have no second derivative; the plain ones are asked for."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model(
        "vit_tiny_patch16_224", img_size=64, depth=3, num_classes=4, class_token=True
    ).eval()
    nn.init.normal_(model.head.weight)
    image = torch.randn(1, 3, 64, 64)
    found = attribute(model, image, 2, method="shapleycam", layers="blocks.0").maps
    assert torch.isfinite(found).all()


def test_eigencam(model, images):
    for method, gradient in (("eigencam", False), ("eigengradcam", True)):
        found = attribute(model, images, CLASS, method=method, layers="3", size=(6, 8)).maps
        for i in range(2):
            grid = features(model, images)[i]
            if gradient:
                part = grid.clone().requires_grad_(True)
                model[4:](part[None])[0, CLASS].backward()
                grid = grid * part.grad
            cells = grid.flatten(1).T
            cells = cells - cells.mean(0)
            projection = cells @ torch.linalg.svd(cells)[2][0]
            if projection.min().abs() > projection.max():
                projection = -projection
            torch.testing.assert_close(found[i].flatten(), projection.relu())


def test_eigencam_of_more_channels_than_cells(images):
    torch.manual_seed(0)
    deep = nn.Sequential(
        nn.Conv2d(3, 40, 4, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(40, 2),
    ).double()  # fmt: skip
    found = attribute(deep, images, 0, method="eigencam", layers="1", size=(3, 4)).maps[0]
    cells = deep[:2](images)[0].detach().flatten(1).T
    cells = cells - cells.mean(0)
    projection = cells @ torch.linalg.svd(cells)[2][0]
    sign = 1 if projection.max() >= -projection.min() else -1
    torch.testing.assert_close(found.flatten(), (sign * projection).relu())


def test_refinecam(model, images):
    found = attribute(model, images, CLASS, method="refinecam", layers=["1", "3"]).maps
    product = 1
    for layer in ("1", "3"):
        cells = (6, 8)
        one = attribute(model, images, CLASS, method="gradcampp", layers=layer, size=cells).maps
        low, high = one.amin((1, 2), keepdim=True), one.amax((1, 2), keepdim=True)
        one = ((one - low) / (high - low))[:, None]
        product = (
            product
            * nn.functional.interpolate(one, (12, 16), mode="bilinear", align_corners=False)[:, 0]
        )
    torch.testing.assert_close(found, product)


@pytest.mark.parametrize("batch", [1, 2, 3, 7])
@pytest.mark.parametrize("kind", ["integrated_gradients", "smoothgrad", "tif"])
def test_a_bound_on_the_batch_changes_no_map(model, images, kind, batch):
    """Nor does it see more images at once than it may."""
    from wsss.attribution import GradientConfig

    three = torch.cat([images, images[:1] * 0.5])
    labels = [[0], [1, 2], [3]]
    options = {"method": kind, "gradient": GradientConfig(steps=5)}
    if kind == "tif":
        options = {"layers": ["1", "3"]}
    seen = []
    handle = model.register_forward_pre_hook(lambda m, i: seen.append(len(i[0])))
    found = attribute(model, three, labels, batch=batch, **options).maps
    handle.remove()
    assert max(seen) <= batch
    torch.testing.assert_close(found, attribute(model, three, labels, **options).maps)


@pytest.mark.parametrize("method", [m for m, s in METHODS.items() if s.layered])
def test_several_layers_and_classes_at_once(model, images, method):
    labels = [[0, 3], [1]]
    both = attribute(model, images, labels, method=method, layers=["1", "3"]).maps
    alone = attribute(model, images[:1], 3, method=method, layers=["1", "3"]).maps
    torch.testing.assert_close(both[1:2], alone)
    parts = [
        attribute(model, images[:1], 3, method=method, layers=name, size=(6, 8)).maps
        for name in ("1", "3")
    ]
    fused = sum(
        nn.functional.interpolate(
            (part / part.max().clamp_min(1e-300))[None], (12, 16), mode="bilinear"
        )[0]
        for part in parts
    )
    torch.testing.assert_close(alone, fused)
