"""What is explained of a class, and functions of any output."""

import pytest
import torch
from torch import nn

from wsss.attribution import METHODS, TargetConfig, attribute
from wsss.attribution.targets import Question

LOGITS = torch.tensor([[3.0, 2.5, -1.0, 2.9, 0.0], [0.0, 1.0, 2.0, 3.0, 4.0]]).double()


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(4)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(8, 5),
    ).double().eval()  # fmt: skip


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, 10, 12, generator=torch.Generator().manual_seed(0)).double()


def values(classes, r=0, **options):
    return Question(torch.tensor(classes), TargetConfig(**options)).values(LOGITS, r).tolist()


def test_finer_against_the_nearest():
    found = values([[0], [2]], kind="finer", gamma=0.5, references=2)
    assert found == pytest.approx([3.0 - 0.5 * (2.9 + 2.5) / 2, 2.0 - 0.5 * (1.0 + 3.0) / 2])


def test_more_references_than_classes_are_all_others():
    found = values([[0], [4]], kind="finer", gamma=1, references=99)
    assert found == pytest.approx([3 - (2.5 - 1 + 2.9 + 0) / 4, 4 - 6 / 4])


def test_finer_against_the_other_given_labels():
    options = {"kind": "finer", "gamma": 1.0, "against": "given"}
    assert values([[0, 2, 4], [1, 2, 3]], r=1, **options) == pytest.approx([-1 - 1.5, 2 - 2.0])
    # a single label has no others: the nearest
    assert values([[0], [0]], references=1, **options) == pytest.approx([3 - 2.9, 0 - 1.0])


def test_rest():
    log = LOGITS.softmax(1).log()
    found = values([[1], [3]], kind="rest", probability="softmax")
    assert found == pytest.approx([2.5 + float(log[0, 1]), 3 + float(log[1, 3])])
    sigmoid = LOGITS.sigmoid().log()
    found = values([[1], [3]], kind="rest")
    assert found == pytest.approx([2.5 + float(sigmoid[0, 1]), 3 + float(sigmoid[1, 3])])


@pytest.mark.parametrize("method", ["tif", "gradcam", "scorecam"])
def test_any_method_takes_the_target(model, images, method):
    """As of a network whose logits are these differences."""
    finer = TargetConfig("finer", gamma=1.0, against="given")
    found = attribute(model, images, [[0, 3], [2]], method=method, layers="1", target=finer).maps
    head = nn.Linear(8, 2).double()
    with torch.no_grad():
        head.weight[:] = torch.stack(
            [model[4].weight[0] - model[4].weight[3], model[4].weight[3] - model[4].weight[0]]
        )
        head.bias[:] = torch.stack(
            [model[4].bias[0] - model[4].bias[3], model[4].bias[3] - model[4].bias[0]]
        )
    other = nn.Sequential(*model[:4], head)
    expected = attribute(other, images[:1], [[0, 1]], method=method, layers="1").maps
    torch.testing.assert_close(found[:2], expected)


def test_finercam_is_gradcam_of_this_target(model, images):
    finer = attribute(model, images, 1, method="finercam", layers="1").maps
    same = attribute(model, images, 1, method="gradcam", layers="1", target=TargetConfig("finer"))
    torch.testing.assert_close(finer, same.maps)
    assert not torch.equal(finer, attribute(model, images, 1, method="gradcam", layers="1").maps)


class Segmenter(nn.Module):
    """A dictionary of outputs, none of which are (B, K) logits."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, stride=2), nn.ReLU())
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, x):
        cells = self.body(x)
        return {"sem": self.head(cells), "embedding": cells.mean((2, 3))}


@pytest.mark.parametrize(
    "function",
    [lambda out: out["sem"][:, 2].mean((1, 2)), lambda out: out["sem"][:, 2].mean((1, 2)).sum()],
    ids=["for each image", "for the batch"],
)
def test_a_function_of_a_segmentation_network(images, function):
    network = Segmenter().double().eval()
    found = attribute(network, images, target=function, method="gradcam", layers="body")
    assert found.image_index.tolist() == [0, 1]
    cells = network.body(images)
    weights = network.head.weight[2, :, 0, 0] / cells[0, 0].numel()
    expected = nn.functional.interpolate(
        torch.einsum("k,bkhw->bhw", weights, cells).relu()[:, None], (10, 12), mode="bilinear"
    )[:, 0]
    torch.testing.assert_close(found.maps, expected.detach())


def test_the_layers_of_such_a_network_are_found_and_scales_averaged(images):
    network = Segmenter().double().eval()
    big = nn.functional.interpolate(images, (64, 64))
    found = attribute(
        network, big, target=lambda out: out["embedding"].norm(dim=1), scales=(0.5, 1.0)
    )
    assert found.maps.shape == (2, 64, 64)
    assert found.layers


@pytest.mark.parametrize("method", [m for m, s in METHODS.items() if s.layered])
def test_methods_that_ask_for_many_images_need_a_number_for_each(images, method):
    network = Segmenter().double().eval()
    options = {"method": method, "layers": "body"}
    each = attribute(network, images, target=lambda o: o["embedding"].square().sum(1), **options)
    assert each.maps.amax() > 0
    if method != "shapleycam":
        with pytest.raises(ValueError, match="a number for each: reduce all dimensions"):
            attribute(network, images, target=lambda o: o["embedding"].sum(), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "labels: expected, or in their place a function as target"),
        ({"labels": 0, "target": lambda out: out.sum()}, "labels: expected, or in their place"),
        ({"target": lambda out: out}, r"expected one number, or one for each of 2 images, got a t"),
        ({"target": lambda out: 3}, r"one for each of 2 images, got a int"),
    ],
)
def test_targets_that_are_none(model, images, options, message):
    with pytest.raises(ValueError, match=message):
        attribute(model, images, method="gradcam", layers="1", **options)


def test_finer_needs_another_class(images):
    single = nn.Sequential(nn.Conv2d(3, 1, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
    with pytest.raises(ValueError, match="finer compares classes, and the model has one alone"):
        attribute(single, images, 0, method="finercam", layers="0")


@pytest.mark.parametrize(
    ("options", "message"),
    [({"gamma": -1.0}, "gamma"), ({"gamma": float("nan")}, "gamma"), ({"references": 0}, "ref")],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=rf"target\.{message}\w*: expected at least"):
        TargetConfig("finer", **options)
