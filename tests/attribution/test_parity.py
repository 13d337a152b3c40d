"""The same maps as captum and pytorch-grad-cam, to float32 rounding, and where they differ.

The networks run in float64, as one rounding that flips a ReLU would change gradients by per cents;
the packages round some of their results to float32.

docs/attribution.md lists the differences. Both packages are development dependencies.
"""

import numpy as np
import pytest
import torch
from torch import nn

from wsss.attribution import GradientConfig, attribute
from wsss.attribution.gradcampp import gradcampp_layer
from wsss.attribution.gradients import layer_rounds
from wsss.models import BackboneConfig, build_classifier

captum_attr = pytest.importorskip("captum.attr", reason="needs the package captum")
grad_cam = pytest.importorskip("pytorch_grad_cam", reason="needs the package grad-cam")

from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget  # noqa: E402

CLASS = 2
LABELS = torch.tensor([[0, 0, 1, 0]] * 2)


@pytest.fixture(scope="module", params=["resnet18", pytest.param("vgg16", marks=pytest.mark.slow)])
def model(request):
    """Random weights, lively BatchNorm, nothing in place (captum and grad-cam need that)."""
    torch.manual_seed(3)
    model = build_classifier(BackboneConfig(name=request.param), 4).double().eval()
    nn.init.normal_(model.head.weight)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
        if hasattr(module, "inplace"):
            module.inplace = False
    return model


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 48, 64, generator=generator, dtype=torch.float64)


def assert_same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """Equal to a few roundings of float32 at the size of the map's maximum."""
    assert ours.shape == theirs.shape
    peak = theirs.abs().max().double()
    assert peak > 0
    torch.testing.assert_close(ours / peak, theirs.double() / peak, rtol=1e-6, atol=1e-6)


def cell_maps(model, images, layer, method):
    """Our maps at the size of the layer, where nothing is upsampled."""
    with torch.no_grad():
        kept = []
        handle = model.get_submodule(layer).register_forward_hook(lambda m, i, o: kept.append(o))
        model(images)
        handle.remove()
    size = tuple(kept[0].shape[2:])
    return attribute(model, images, LABELS, method=method, layers=[layer], size=size).maps


def theirs_unscaled(model, images, layer, cam_class):
    """pytorch-grad-cam's map before it is stretched to [0, 1] and resized: (B, h, w)."""
    target = model.get_submodule(layer)
    with cam_class(model=model, target_layers=[target]) as cam:
        outputs = cam.activations_and_grads(images)
        outputs[:, CLASS].sum().backward()
        activations = cam.activations_and_grads.activations[0].numpy()
        gradients = cam.activations_and_grads.gradients[0].numpy()
        targets = [ClassifierOutputTarget(CLASS)] * len(images)
        raw = cam.get_cam_image(images, target, targets, activations, gradients, False)
    model.zero_grad()
    return torch.from_numpy(np.maximum(raw, 0))


METHODS = {
    "gradcam": grad_cam.GradCAM,
    "xgradcam": grad_cam.XGradCAM,
    "layercam": grad_cam.LayerCAM,
    "hirescam": grad_cam.HiResCAM,
}


@pytest.mark.parametrize("depth", [1, -1])
@pytest.mark.parametrize("method", METHODS)
def test_grad_cam_package(model, images, method, depth):
    layer = model.default_layers[depth]
    theirs = theirs_unscaled(model, images, layer, METHODS[method])
    assert_same(cell_maps(model, images, layer, method), theirs)


@pytest.mark.parametrize("depth", [1, -1])
def test_gradcampp_differs_by_their_constant_alone(model, images, depth):
    """Theirs adds 1e-6 to `2 G^2 + sum(A) G^3`; with large gradients it is the same method."""
    layer = model.default_layers[depth]
    [one] = layer_rounds(model, images, torch.full((2, 1), CLASS), [layer], GradientConfig())
    a, g = one.activations[layer], one.gradients[layer] * 1e3
    theirs = grad_cam.GradCAMPlusPlus(model, [model.get_submodule(layer)]).get_cam_weights(
        None, None, None, a.numpy(), g.numpy()
    )
    expected = torch.einsum("bk,bkhw->bhw", torch.from_numpy(theirs).to(a), a).relu()
    found = gradcampp_layer(a, g)
    torch.testing.assert_close(found / found.max(), expected / expected.max(), rtol=1e-2, atol=1e-2)
    small = g * 1e-6
    weights = grad_cam.GradCAMPlusPlus(model, [model.get_submodule(layer)]).get_cam_weights(
        None, None, None, a.numpy(), small.numpy()
    )
    theirs = torch.einsum("bk,bkhw->bhw", torch.from_numpy(weights).to(a), a).relu()
    found = gradcampp_layer(a, small)
    assert (found / found.max() - theirs / theirs.max()).abs().max() > 0.01


@pytest.mark.parametrize("method", METHODS)
def test_their_whole_road_is_ours_stretched_to_0_1(model, images, method):
    layer = model.default_layers[-1]
    with METHODS[method](model=model, target_layers=[model.get_submodule(layer)]) as cam:
        targets = [ClassifierOutputTarget(CLASS)] * 2
        theirs = torch.from_numpy(cam(images, targets))
    model.zero_grad()
    maps = cell_maps(model, images, layer, method)
    low = maps.amin((1, 2), keepdim=True)
    stretched = (maps - low) / (maps.amax((1, 2), keepdim=True) - low)
    ours = nn.functional.interpolate(stretched[:, None], (48, 64), mode="bilinear")[:, 0]
    low = ours.amin((1, 2), keepdim=True)
    ours = (ours - low) / (ours.amax((1, 2), keepdim=True) - low)
    torch.testing.assert_close(ours, theirs.double(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("depth", [1, -1])
def test_captums_layer_gradcam(model, images, depth):
    layer = model.default_layers[depth]
    explain = captum_attr.LayerGradCam(model, model.get_submodule(layer))
    theirs = explain.attribute(images, target=CLASS, relu_attributions=True)[:, 0].detach()
    assert_same(cell_maps(model, images, layer, "gradcam"), theirs)


@pytest.mark.parametrize("depth", [1, -1])
def test_captums_gradient_x_activation_is_hirescam(model, images, depth):
    layer = model.default_layers[depth]
    explain = captum_attr.LayerGradientXActivation(model, model.get_submodule(layer))
    theirs = explain.attribute(images, target=CLASS).sum(1).relu().detach()
    assert_same(cell_maps(model, images, layer, "hirescam"), theirs)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [2, 9])
def test_captums_integrated_gradients(model, images, steps):
    theirs = captum_attr.IntegratedGradients(model).attribute(
        images, target=CLASS, n_steps=steps, method="riemann_middle"
    )
    gradient = GradientConfig(kind="integrated", steps=steps)
    ours = attribute(model, images, LABELS, method="integrated_gradients", gradient=gradient).maps
    assert_same(ours, theirs.sum(1).abs())


def test_captums_saliency_and_input_x_gradient(model, images):
    saliency = captum_attr.Saliency(model).attribute(images, target=CLASS)
    assert_same(attribute(model, images, LABELS, method="saliency").maps, saliency.sum(1))
    product = captum_attr.InputXGradient(model).attribute(images, target=CLASS).detach()
    ours = attribute(model, images, LABELS, method="input_x_gradient").maps
    assert_same(ours, product.sum(1).abs())


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU")
def test_captums_guided_backpropagation(images):
    torch.manual_seed(0)
    model = nn.Sequential(  # captum needs each ReLU to run once
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    ).double().eval()  # fmt: skip
    theirs = captum_attr.GuidedBackprop(model).attribute(images, target=CLASS)
    assert_same(attribute(model, images, LABELS, method="guided_backprop").maps,
                theirs.abs().sum(1))  # fmt: skip
