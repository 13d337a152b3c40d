"""Features of several stages: of this pass, this thread and this copy of a network."""

import copy
import pickle
import threading

import pytest
import torch
from torch import nn

from wsss.models import SegmenterConfig, build_segmenter
from wsss.models.folding import fold_batchnorm
from wsss.models.taps import Tap, as_grid, find_taps, outputs_of, watch


def small_segmenter():
    torch.manual_seed(0)
    config = SegmenterConfig("fpn", "narrow_resnet10", channels=32)
    return build_segmenter(config, 3).eval()


def by_hand(model, images):
    """Features child by child."""
    found, taps = [], [*model.taps[:-1], "layer4"]
    for name, child in model.backbone.named_children():
        images = child(images)
        if name in taps:
            found.append(images)
    return found


def assert_equal(found, expected):
    assert len(found) == len(expected) == 4
    assert all(torch.equal(a, b) for a, b in zip(found, expected))


@torch.no_grad()
def test_features_are_those_of_the_stages():
    model, images = small_segmenter(), torch.randn(2, 3, 48, 40)
    assert_equal(model.features(images), by_hand(model, images))


@torch.no_grad()
def test_a_copy_has_features_of_its_own():
    model, images = small_segmenter(), torch.randn(1, 3, 32, 32)
    # our own network there and back: processes that are started afresh receive networks so
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        for parameter in other.backbone.parameters():
            parameter.mul_(1.5)
        assert_equal(other.features(images), by_hand(other, images))
        assert not torch.equal(other.features(images)[0], model.features(images)[0])


def test_threads_do_not_meet_each_other_s_features():
    """One goes on with its pass while the other is in the middle of its own."""
    model = small_segmenter()
    images = torch.randn(2, 3, 32, 32)
    begun, other_begun, done = (threading.Event() for _ in range(3))
    first = threading.get_ident()

    def meet(module, inputs, output):
        mine, until = (
            (begun, other_begun) if threading.get_ident() == first else (other_begun, done)
        )
        mine.set()
        assert until.wait(20)

    found = {}

    def other():
        begun.wait(20)
        with torch.no_grad():
            found["other"] = model.features(images[1:])

    handle = model.backbone.layer1.register_forward_hook(meet)
    thread = threading.Thread(target=other)
    thread.start()
    with torch.no_grad():
        try:
            own = model.features(images[:1])
        finally:
            done.set()
            thread.join()
        handle.remove()
        assert_equal(own, by_hand(model, images[:1]))
        assert_equal(found["other"], by_hand(model, images[1:]))


@torch.no_grad()
def test_a_pass_within_a_pass():
    """As of a teacher that is asked by a hook of its student."""
    model, teacher, images = small_segmenter(), small_segmenter(), torch.randn(1, 3, 32, 32)
    found = []
    model.backbone.layer2.register_forward_hook(lambda *_: found.append(teacher.features(images)))
    own = model.features(images)
    assert_equal(found[0], by_hand(teacher, images))
    del found[:]
    assert_equal(own, by_hand(model, images))


@torch.no_grad()
def test_folded_it_has_the_same_features():
    model, images = small_segmenter(), torch.randn(1, 3, 48, 40)
    expected = model.features(images)
    model.backbone = fold_batchnorm(model.backbone)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.backbone.modules())
    for a, b in zip(model.features(images), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_an_error_leaves_no_pass_open():
    model = small_segmenter()
    with pytest.raises(RuntimeError):
        model.features(torch.randn(1, 4, 32, 32))
    model.backbone(torch.randn(1, 3, 32, 32))
    assert not outputs_of(nn.Identity(), torch.zeros(1)).keys() - {""}


class Body(nn.Module):
    """A body whose stage gives what ``run`` makes of a (B, 2, h, w) map of stride 4."""

    def __init__(self, run):
        super().__init__()
        self.stem, self.stage = nn.Conv2d(3, 2, 4, 4), Stage(run)

    def forward(self, images):
        x = self.stem(images)
        self.stage(x)
        return x


class Stage(nn.Module):
    def __init__(self, run):
        super().__init__()
        self.run = run

    def forward(self, x):
        return self.run(x)


def tokens(x, prefix):
    return nn.functional.pad(x.flatten(2).transpose(1, 2), (0, 0, prefix, 0))


@pytest.mark.parametrize(
    ("run", "layout", "stride"),
    [
        (lambda x: x, "channels first", 4),
        (lambda x: x.permute(0, 2, 3, 1), "channels last", 4),
        (lambda x: tokens(x, 0), "tokens", 4),
        (lambda x: tokens(x, 5), "tokens", 4),
        (lambda x: x[:, :, ::2, ::2], "channels first", 8),
        (lambda x: x[:, :, 1:, 1:], "channels first", 4),
    ],
)
@torch.no_grad()
def test_layouts(run, layout, stride):
    body, images = Body(run).train(), torch.randn(1, 3, 64, 96)
    assert find_taps(body, ["stage", ""]) == [
        Tap("stage", 2, stride, layout), Tap("", 2, 4, "channels first")
    ]  # fmt: skip
    assert body.stage.training
    assert not body.stage._forward_hooks, "the search leaves nothing behind"
    watch(body, ["stage", ""])
    outputs = outputs_of(body, images)
    grid = as_grid(outputs["stage"], layout, outputs[""])
    if stride == 4 and grid.shape == outputs[""].shape:
        assert torch.equal(grid, outputs[""])


@pytest.mark.parametrize(
    "run",
    [
        lambda x: (x, x),
        lambda x: x.mean((2, 3)),
        lambda x: tokens(x, 3)[:, ::2],
        lambda x: x[:, :, :8, :8],
        lambda x: nn.functional.adaptive_avg_pool2d(x, 5),
    ],
)
def test_what_is_no_grid_is_refused_by_name(run):
    with pytest.raises(ValueError, match=r"model\.backbone: stage 'stage' gives"):
        find_taps(Body(run), ["stage", ""])
