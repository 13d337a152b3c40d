"""What is explained of a class, and functions of any output."""

import pytest
import torch
import torchvision
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from wsss.attribution import (
    METHODS,
    GradientConfig,
    MultiScaleConfig,
    TargetConfig,
    attribute,
)
from wsss.attribution.targets import Question, targets_of

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
def test_a_single_number_is_asked_of_one_image_at_a_time(images, method):
    network = Segmenter().double().eval()
    options = {"method": method, "layers": "body"}
    each = attribute(network, images, target=lambda o: o["embedding"].square().sum(1), **options)
    assert each.maps.amax() > 0
    one = attribute(network, images, target=lambda o: o["embedding"].square().sum(), **options)
    torch.testing.assert_close(each.maps, one.maps)


@pytest.mark.parametrize("batch", [None, 1, 8])
@pytest.mark.parametrize("options", [{"gradient": GradientConfig(steps=5)}, {"scales": (0.5, 1.0)}])
def test_a_single_number_is_not_that_of_the_first_copy(model, images, batch, options):
    method = "integrated_gradients" if "gradient" in options else "gradcam"
    options = {"method": method, "batch": batch, **options}
    if method == "gradcam":
        options |= {"layers": "1", "scales": MultiScaleConfig((1.0,), flip=True)}
    found = attribute(model, images, target=lambda out: out[0, 3], **options)
    torch.testing.assert_close(found.maps, attribute(model, images, 3, **options).maps)


@pytest.mark.parametrize("method", ["ablationcam", "scorecam", "integrated_gradients"])
def test_the_classes_compared_with_are_those_of_the_image_itself(images, method):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 20)
    ).double()  # fmt: skip
    one = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(3)).double()
    logits = network(one)[0]
    options = {"method": method}
    if method != "integrated_gradients":
        options["layers"] = "1"
    for k in (0, 4, 11):
        gap = (logits - logits[k]).abs()
        gap[k] = float("inf")
        other = int(gap.argmin())
        found = attribute(network, one, k, target=TargetConfig("finer", references=1), **options)
        expected = attribute(
            network, one, target=lambda out, k=k, o=other: out[:, k] - 0.6 * out[:, o], **options
        )
        torch.testing.assert_close(found.maps, expected.maps)


def test_functions_that_hold_something_for_each_image_and_chosen_outputs(model, images):
    labels = torch.tensor([1, 2])
    found = attribute(
        model, images.repeat(1, 1, 2, 2), method="gradcam", layers="1",
        target=lambda out: -nn.functional.cross_entropy(out, labels, reduction="none"),
    )  # fmt: skip
    assert found.maps.shape == (2, 20, 24)
    found = attribute(
        Segmenter().double().eval(), images, output="sem", method="gradcam", layers="body",
        target=lambda out: out[:, 2].mean((1, 2)),
    )  # fmt: skip
    assert found.maps.amax() > 0


def test_layers_found_for_a_function_are_not_the_scores_themselves():
    network = Segmenter().double().eval()
    big = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    found = attribute(network, big, target=lambda out: out["sem"][:, 1].mean((1, 2)))
    assert "head" not in found.layers


@pytest.mark.parametrize("method", METHODS)
def test_columns_of_another_model_are_refused_by_every_method(method):
    torch.manual_seed(0)
    vit = torchvision.models.VisionTransformer(
        image_size=32, patch_size=16, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=16,
        num_classes=5,
    ).eval()  # fmt: skip
    cnn = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
    )
    network = vit if method in ("legrad", "rollout") else cnn
    layers = "1" if METHODS[method].takes_layers else None
    labels = torch.zeros(1, 20)
    labels[0, 1] = 1
    with pytest.raises(ValueError, match="labels: expected 5 columns"):
        attribute(network, torch.randn(1, 3, 32, 32), labels, method=method, layers=layers)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "labels: expected, or in their place a function as target"),
        ({"labels": 0, "target": lambda out: out.sum()}, "labels: expected, or in their place"),
        ({"target": lambda out: out}, r"expected one number for each of 2 images, got a tensor"),
        ({"target": lambda out: 3}, r"expected one number for each of 2 images, got a int"),
        ({"labels": 0, "target": "finer"}, r"target: expected a TargetConfig or a function, got"),
        ({"labels": 0, "size": 64}, r"size: expected a tuple of 2 numbers, got 64"),
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
    [
        ({"gamma": -1.0}, "gamma: expected at least"),
        ({"gamma": float("nan")}, "gamma: expected at least"),
        ({"references": 0}, "references: expected at least"),
        ({"against": "gvien"}, "against: expected one of nearest, given, got 'gvien'"),
        ({"probability": "softmx"}, "probability: expected one of sigmoid, softmax"),
        ({"kind": "fine"}, "kind: expected one of own, logit, finer, rest, softmax, got 'fine'"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=rf"target\.{message}"):
        TargetConfig(**{"kind": "finer", **options})


class Asked(TorchDispatchMode):
    """Count of the numbers that are asked of tensors: for each a GPU would be waited for."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.overloadpacket.__name__ == "_local_scalar_dense"
        return func(*args, **(kwargs or {}))


def test_of_multi_hot_labels_no_number_is_asked():
    classes = torch.tensor([[0], [4]])
    with Asked() as asked:
        found = Question(classes, num_classes=5).values(LOGITS, 0)
    assert found.tolist() == [3.0, 4.0]
    assert asked.count == 0
    with Asked() as asked, pytest.raises(ValueError, match="class 5 of a model with 5 logits"):
        Question(classes + 1).values(LOGITS, 0)
    assert asked.count > 0


def test_pairs_lie_in_main_memory_and_go_where_the_images_are():
    elsewhere = torch.device("meta")
    images = torch.zeros(2, 3, 4, 4, device=elsewhere)
    targets = targets_of([[2, 0], [1]], images)
    assert targets.image_index.tolist() == [0, 0, 1]
    assert targets.class_index.tolist() == [0, 2, 1]
    assert [one.device for one in targets.pairs_on(elsewhere)] == [elsewhere] * 2
    parts = list(targets.parts(elsewhere))
    assert [tuple(classes.shape) for _, classes, _ in parts] == [(1, 1), (1, 2)]
    assert all(one.device == elsewhere for part in parts for one in part)
