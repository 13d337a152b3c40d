"""BatchNorm folded into convolutions: the same function, and only where that is certain."""

import copy

import pytest
import torch
from torch import nn

from wsss.attribution import AttributionConfig, attribute
from wsss.models import BackboneConfig, build_classifier
from wsss.models.folding import fold_batchnorm, fold_parts
from wsss.models.segmenter import SegmenterConfig, build_segmenter
from wsss.pipeline.mask_making.network import prepared_network

IMAGES = torch.randn(2, 3, 48, 40, generator=torch.Generator().manual_seed(0)).double()
LABELS = torch.tensor([[1, 0, 1], [0, 1, 0]])


def with_statistics(model: nn.Module) -> nn.Module:
    """In float64, with BatchNorms that do something: those of a new network are identities."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            tensors = [module.running_var, module.weight, module.running_mean, module.bias]
            for tensor, low in zip(tensors, (0.5, 0.5, -0.5, -0.5), strict=True):
                if tensor is not None:
                    with torch.no_grad():
                        tensor.uniform_(low, low + 1, generator=generator)
    return model.double().eval()


def vgg_with_norms() -> nn.Module:
    """As torchvision's vgg16_bn is made, but small."""
    layers: list[nn.Module] = []
    for inside, out in ((3, 8), (8, 8), (8, 16)):
        layers += [nn.Conv2d(inside, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
    layers += [nn.MaxPool2d(2), nn.Conv2d(16, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3))


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name == "vgg":
        return with_statistics(vgg_with_norms())
    return with_statistics(build_classifier(BackboneConfig(name=name), 3))


@pytest.mark.parametrize(
    ("name", "layers", "count"),
    [
        ("resnet18", None, 20),
        ("resnet18", ["backbone.bn1", "backbone.layer2"], 20),
        ("mobilenet_v2", None, 52),
        ("vgg", ["5", "12"], 4),
    ],
)
def test_outputs_and_maps_agree_to_rounding(name, layers, count):
    model = build(name)
    folded = fold_batchnorm(model)
    assert (norms(model), norms(folded)) == (count, 0)
    with torch.no_grad():
        torch.testing.assert_close(folded(IMAGES), model(IMAGES), rtol=1e-9, atol=1e-12)
    expected = attribute(model, IMAGES, LABELS, layers=layers).maps
    assert (expected.amax(dim=(1, 2)) > 0).any()
    found = attribute(folded, IMAGES, LABELS, layers=layers).maps
    scale = float(expected.abs().max())
    torch.testing.assert_close(found / scale, expected / scale, rtol=1e-8, atol=1e-9)


def test_the_network_itself_is_left_as_it_was():
    model = build("vgg").train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    names = [(name, type(module)) for name, module in model.named_modules()]
    folded = fold_batchnorm(model)
    assert not folded.training
    assert all(module.training for module in model.modules())
    assert names == [(name, type(module)) for name, module in model.named_modules()]
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    for parameter in folded.parameters():
        parameter.data.zero_()
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_what_is_kept_keeps_its_own_output():
    model = build("vgg")
    folded = fold_batchnorm(model, keep=["3"])
    assert norms(folded) == 1
    assert isinstance(folded[4], nn.BatchNorm2d)
    part = IMAGES
    torch.testing.assert_close(folded[:4](part), model[:4](part), rtol=1e-10, atol=1e-12)
    network = prepared_network(model, AttributionConfig(layers=["3"]), torch.device("cpu"))
    assert isinstance(network[4], nn.BatchNorm2d)
    found, expected = (attribute(m, IMAGES, LABELS, layers=["3"]).maps for m in (network, model))
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


class Net(nn.Module):
    """A convolution and what ``run`` makes of it."""

    def __init__(self, run, **norm) -> None:
        super().__init__()
        self.conv, self.other = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1)
        self.norm, self.run = nn.BatchNorm2d(4, **norm), run

    def forward(self, images):
        return self.run(self, images).mean((2, 3))


def branch(net, x):
    return net.norm(net.conv(x)) if x.sum() > 0 else net.conv(x)


def two_users(net, x):
    x = net.conv(x)
    return net.norm(x) + x


def convolution_twice(net, x):
    return net.norm(net.conv(x)) + net.conv(x.flip(3))


def norm_twice(net, x):
    return net.norm(net.other(net.norm(net.conv(x))))


def not_after_a_convolution(net, x):
    return net.norm(net.conv(x).relu())


def of_the_images(net, x):
    return net.conv(x) + net.norm(x.repeat(1, 2, 1, 1)[:, :4]).mean()


@pytest.mark.parametrize(
    "run",
    [branch, two_users, convolution_twice, norm_twice, not_after_a_convolution, of_the_images],
)
def test_what_cannot_be_folded_is_copied_as_it_is(run):
    model = with_statistics(Net(run))
    folded = fold_batchnorm(model)
    assert folded is not model
    assert norms(folded) == 1
    assert torch.equal(folded(IMAGES), model(IMAGES))


def by_name(net, x):
    return net.norm(input=net.conv(x))


def test_an_input_given_by_name_does_no_harm():
    model = with_statistics(Net(by_name))
    found = fold_batchnorm(model)(IMAGES)
    torch.testing.assert_close(found, model(IMAGES), rtol=1e-10, atol=1e-12)


def plain(net, x):
    return net.norm(net.conv(x))


@pytest.mark.parametrize("second", [["conv"], ["norm"], ["conv", "norm"]])
@pytest.mark.parametrize("call", ["first", "second"])
def test_modules_with_two_names(second, call):
    """Which of the names the network calls makes no difference."""

    def run(net, x):
        names = [f"again_{n}" if call == "second" and n in second else n for n in ("conv", "norm")]
        return getattr(net, names[1])(getattr(net, names[0])(x))

    model = with_statistics(Net(run))
    for name in second:
        setattr(model, f"again_{name}", getattr(model, name))
    folded = fold_batchnorm(model)
    torch.testing.assert_close(folded(IMAGES), model(IMAGES), rtol=1e-10, atol=1e-12)


def test_without_statistics_of_training_it_stays():
    model = with_statistics(Net(plain, track_running_stats=False))
    folded = fold_batchnorm(model)
    assert norms(folded) == 1
    assert torch.equal(folded(IMAGES), model(IMAGES))


def test_without_weights_of_its_own_it_is_folded():
    model = with_statistics(Net(plain, affine=False))
    folded = fold_batchnorm(model)
    assert norms(folded) == 0
    torch.testing.assert_close(folded(IMAGES), model(IMAGES), rtol=1e-10, atol=1e-12)


class OtherNorm(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x).relu()


class OtherConvolution(nn.Conv2d):
    def forward(self, x):
        return super().forward(x).relu()


@pytest.mark.parametrize(("name", "kind"), [("conv", OtherConvolution), ("norm", OtherNorm)])
def test_classes_derived_from_them_stay(name, kind):
    model = Net(plain)
    setattr(model, name, OtherNorm(4) if name == "norm" else OtherConvolution(3, 4, 3))
    model = with_statistics(model)
    folded = fold_batchnorm(model)
    assert isinstance(getattr(folded, name), kind)
    assert torch.equal(folded(IMAGES), model(IMAGES))


def test_fullgrad_keeps_them():
    """It reads their biases."""
    model = build("resnet18")
    for method, count in (("fullgrad", 20), ("tif", 0), ("gradcam", 0)):
        network = prepared_network(model, AttributionConfig(method=method), torch.device("cpu"))
        assert norms(network) == count
    expected = attribute(model, IMAGES, LABELS, method="fullgrad").maps
    network = prepared_network(model, AttributionConfig(method="fullgrad"), torch.device("cpu"))
    found = attribute(network, IMAGES, LABELS, method="fullgrad").maps
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["deeplabv2", "deeplabv3plus"])
def test_parts_of_a_segmenter_are_folded_and_its_stages_still_seen(name):
    """Its head resizes by sizes that torch.fx cannot trace; copies of the copy work too."""
    torch.manual_seed(0)
    config = SegmenterConfig(name=name, backbone="narrow_resnet10", output_stride=16)
    network = with_statistics(build_segmenter(config, 4))
    folded = fold_parts(network)
    assert norms(folded) == 0 < norms(network)
    with torch.no_grad():
        expected = network(IMAGES)
        for copied in (folded, copy.deepcopy(folded)):
            torch.testing.assert_close(copied(IMAGES), expected, rtol=1e-10, atol=1e-12)
    assert expected.std() > 1e-4
