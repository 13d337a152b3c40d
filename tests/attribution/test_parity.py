"""The same maps as captum and pytorch-grad-cam, to float32 rounding, and where they differ.

The networks run in float64, as one rounding that flips a ReLU would change gradients by per cents;
the packages round some of their results to float32.

docs/experiments/packages.md lists the differences. Both packages are development dependencies.
"""

import numpy as np
import pytest
import torch
from torch import nn

from wsss.attribution import GradientConfig, TargetConfig, attribute
from wsss.attribution.ablationcam import ablationcam_weights
from wsss.attribution.fusion import stretched
from wsss.attribution.gradcampp import gradcampp_layer
from wsss.attribution.gradients import layer_rounds
from wsss.attribution.passes import Probe
from wsss.attribution.targets import Question
from wsss.models import BackboneConfig, build_classifier

captum_attr = pytest.importorskip("captum.attr", reason="needs the package captum")
grad_cam = pytest.importorskip("pytorch_grad_cam", reason="needs the package grad-cam")

from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget  # noqa: E402

CLASS = 2
LABELS = torch.tensor([[0, 0, 1, 0]] * 2)
PLAIN = GradientConfig()


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
    [one] = layer_rounds(
        model, images, Question(torch.full((2, 1), CLASS)), [layer], GradientConfig()
    )
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


# what two packages have beyond these, as of grad-cam 1.5.7 and torchcam 0.5.0


def targets(count=2):
    return [ClassifierOutputTarget(CLASS)] * count


@pytest.mark.parametrize(
    ("method", "cam_class"),
    [("eigencam", grad_cam.EigenCAM), ("eigengradcam", grad_cam.EigenGradCAM)],
)
@pytest.mark.parametrize("depth", [1, -1])
def test_grad_cam_packages_principal_components(model, images, method, cam_class, depth):
    """Theirs have the sign that the decomposition happens to give."""
    layer = model.default_layers[depth]
    target = model.get_submodule(layer)
    with grad_cam.GradCAM(model=model, target_layers=[target]) as cam:
        cam.activations_and_grads(images)[:, CLASS].sum().backward()
        a = cam.activations_and_grads.activations[0].numpy()
        g = cam.activations_and_grads.gradients[0].numpy()
    model.zero_grad()
    raw = torch.from_numpy(
        cam_class(model, [target]).get_cam_image(images, target, targets(), a, g, False)
    )
    flip = raw.amin((1, 2), keepdim=True).abs() > raw.amax((1, 2), keepdim=True)
    assert_same(cell_maps(model, images, layer, method), torch.where(flip, -raw, raw).relu())


def test_grad_cam_packages_ablation(model, images):
    """Theirs divides by the score with its sign, and adds a constant if no activation is 0."""
    layer = model.default_layers[1]
    with torch.no_grad():
        score = model(images)[:, CLASS]
    with grad_cam.AblationCAM(model=model, target_layers=[model.get_submodule(layer)]) as cam:
        a = cam.activations_and_grads
        with torch.no_grad():
            a(images)
        activation = a.activations[0].numpy()
        weights = cam.get_cam_weights(
            images, model.get_submodule(layer), targets(), activation, None
        )
    expected = torch.from_numpy(weights).double() * score.sign()[:, None]
    question = Question(torch.full((2, 1), CLASS))
    grid = torch.from_numpy(activation)
    found = ablationcam_weights(model, Probe(images, question, layer, grid, 16, None))
    # they keep the scores in float32, and the drops are small beside them
    torch.testing.assert_close(found[:, 0], expected, rtol=0, atol=1e-6)
    assert expected.abs().max() > 1e-3


def test_grad_cam_packages_shapleycam(images):
    """Ours of their target; the network's Hessian is not 0."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.Softplus(), nn.Conv2d(8, 6, 3), nn.Softplus(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4),
    ).double().eval()  # fmt: skip
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputReST

    for layer, size in (("1", (23, 31)), ("3", (21, 29))):
        target = network.get_submodule(layer)
        with grad_cam.ShapleyCAM(model=network, target_layers=[target]) as cam:
            inputs = images.clone().requires_grad_(True)
            outputs = cam.activations_and_grads(inputs)
            loss = sum(ClassifierOutputReST(CLASS)(one) for one in outputs)
            torch.autograd.grad(loss, inputs, retain_graph=True, create_graph=True)
            a = cam.activations_and_grads.activations[0]
            g = cam.activations_and_grads.gradients[0]
            weights = torch.from_numpy(cam.get_cam_weights(inputs, target, None, a, g))
        expected = torch.einsum("bk,bkhw->bhw", weights, a.detach()).relu()
        rest = TargetConfig("rest", probability="softmax")
        found = attribute(
            network, images, CLASS, method="shapleycam", layers=layer, size=size, target=rest
        )
        assert_same(found.maps, expected)


def test_grad_cam_packages_finercam(images):
    """Theirs weights the others by their probability, which is no more than another function."""
    from pytorch_grad_cam.utils.model_targets import FinerWeightedTarget

    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4),
    ).double().eval()  # fmt: skip
    finer = FinerWeightedTarget(CLASS, [0, 3], 0.6)
    with grad_cam.GradCAM(model=network, target_layers=[network[3]]) as cam:
        sum(finer(one) for one in cam.activations_and_grads(images)).backward()
        a = torch.from_numpy(cam.activations_and_grads.activations[0].numpy())
        g = torch.from_numpy(cam.activations_and_grads.gradients[0].numpy())
    found = attribute(network, images, target=finer, method="gradcam", layers="3", size=(21, 29))
    assert_same(found.maps, torch.einsum("bk,bkhw->bhw", g.mean((2, 3)), a).relu())


def test_grad_cam_packages_refinecam(model, images):
    layers = model.default_layers[-2:]
    theirs = grad_cam.RefineCAM(
        model, [model.get_submodule(name) for name in layers], base_method=grad_cam.LayerCAM
    )
    product = torch.from_numpy(theirs(images, targets()))
    model.zero_grad()
    maps = []
    for name in layers:  # their base method is LayerCAM here: Grad-CAM++ differs, see above
        one = cell_maps(model, images, name, "layercam")
        maps.append(stretched(_upsampled(stretched(one))))
    torch.testing.assert_close(stretched(maps[0] * maps[1]), product.double(), rtol=1e-4, atol=1e-4)


def _upsampled(maps, size=(48, 64)):
    return nn.functional.interpolate(maps[:, None], size, mode="bilinear")[:, 0]


@pytest.fixture(scope="module")
def torchcam_methods():
    return pytest.importorskip("torchcam.methods", reason="needs the package torchcam")


@pytest.mark.parametrize("depth", [1, -1])
@pytest.mark.parametrize(
    ("method", "name"),
    [("gradcam", "GradCAM"), ("layercam", "LayerCAM"), ("xgradcam", "XGradCAM"),
     ("scorecam", "ScoreCAM"), ("finercam", "FinerCAM")],
)  # fmt: skip
def test_torchcam(model, images, torchcam_methods, method, name, depth):
    if method == "scorecam" and depth == -1:
        pytest.skip("512 masks an image: the other layer shows the same in an eighth of the time")
    layer = model.default_layers[depth]
    with getattr(torchcam_methods, name)(model, layer) as cam:
        scores = model(images)
        (theirs,) = cam(CLASS, scores, normalized=False)
    # XGrad-CAM's quotient is 0 / 0 where a channel is 0
    assert_same(cell_maps(model, images, layer, method), theirs.detach().relu())


def test_torchcams_refinecam(model, images, torchcam_methods):
    """On LayerCAM: its Grad-CAM++ is another, see below."""
    layers = model.default_layers[-2:]
    base = torchcam_methods.LayerCAM
    with torchcam_methods.RefineCAM(model, list(layers), base_method=base) as cam:
        (theirs,) = cam(CLASS, model(images), normalized=False, target_shape=(48, 64))
    first, second = (stretched(cell_maps(model, images, name, "layercam")) for name in layers)
    assert_same(_upsampled(first) * _upsampled(second), theirs.detach())


def test_torchcams_gradcampp_is_not_divided(model, images, torchcam_methods):
    """`alpha[mask].div_(...)` divides a copy: its weights are those of G^2 relu(G)."""
    layer = model.default_layers[-1]
    with torchcam_methods.GradCAMpp(model, layer) as cam:
        (theirs,) = cam(CLASS, model(images), normalized=False)
    [one] = layer_rounds(model, images, Question(torch.full((2, 1), CLASS)), [layer], PLAIN)
    a, g = one.activations[layer], one.gradients[layer]
    undivided = torch.einsum("bk,bkhw->bhw", (g.square() * g.relu()).sum((2, 3)), a).relu()
    assert_same(undivided, theirs.detach())
    ours = cell_maps(model, images, layer, "gradcampp")
    assert (ours / ours.max() - theirs / theirs.max()).abs().max() > 0.01


def test_torchcams_legrad(torchcam_methods):
    import torchvision

    torch.manual_seed(0)
    network = torchvision.models.VisionTransformer(
        image_size=64, patch_size=16, num_layers=3, num_heads=4, hidden_dim=32, mlp_dim=64,
        num_classes=5,
    ).double().eval()  # fmt: skip
    nn.init.normal_(network.heads.head.weight)
    inputs = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)).double()
    blocks = [f"encoder.layers.encoder_layer_{i}" for i in range(3)]
    with torchcam_methods.LeGrad(
        network,
        blocks,
        score_projection=lambda tokens: network.heads(network.encoder.ln(tokens)[:, 0]),
    ) as cam:
        network(inputs)
        (theirs,) = cam(CLASS, normalized=False)
    ours = attribute(network, inputs, CLASS, method="legrad", size=(4, 4)).maps
    assert_same(ours, theirs.detach())
