"""Every method on every backbone, any module, and what is refused."""

import pytest
import torch
from torch import nn

from tests.attribution.networks import LABELS, classifier, images
from wsss.attribution import (
    METHODS,
    AttributionConfig,
    GradientConfig,
    TIFConfig,
    attribute,
    attribute_many,
    usable_layers,
)
from wsss.attribution.fullgrad import fullgrad_layers, fullgrad_terms
from wsss.attribution.gradients import layer_rounds
from wsss.attribution.layout import INPUT
from wsss.attribution.targets import Question
from wsss.models import BACKBONES

SMOOTH = {"efficientnet_b0", "convnext_tiny", "vit_b_16", "swin_t", "timm/vit_tiny_patch16_224"}
ONLY_PIECEWISE_LINEAR = {"fullgrad", "guided_backprop"}
TRANSFORMERS = {"vit_b_16", "timm/vit_tiny_patch16_224"}
ONLY_TRANSFORMERS = {"legrad", "rollout"}
A_PASS_FOR_EACH_CHANNEL = {"scorecam", "ablationcam"}
BACKBONE_NAMES = [*BACKBONES, "timm/resnet18", "timm/vit_tiny_patch16_224"]
LARGE = {"vgg16", "resnet34", "resnet50", "resnet101", "vit_b_16", "convnext_tiny", "timm/resnet18"}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=[pytest.mark.slow] * (name in LARGE)) for name in BACKBONE_NAMES
    ],
)
def backbone(request):
    return request.param, classifier(request.param)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_on_every_backbone(backbone, method):
    name, model = backbone
    steps = GradientConfig(steps=2)
    if name in SMOOTH and method in ONLY_PIECEWISE_LINEAR:
        with pytest.raises(ValueError, match=r"(piecewise linear|ReLU).*this one has \w+"):
            attribute(model, images(), LABELS, method=method, gradient=steps)
        return
    if method in ONLY_TRANSFORMERS and name not in TRANSFORMERS:
        with pytest.raises(ValueError, match=r"expected a vision transformer.* has no such block"):
            attribute(model, images(), LABELS, method=method)
        return
    layers = None
    if method in A_PASS_FOR_EACH_CHANNEL:
        layers = [INPUT] if name in LARGE | {"swin_t"} else model.default_layers[:1]
    found = attribute(model, images(), LABELS, method=method, gradient=steps, layers=layers)
    assert found.maps.shape == (3, 64, 80)
    assert torch.isfinite(found.maps).all()
    assert found.maps.min() >= 0
    if name not in SMOOTH:  # features of both signs may speak against a class everywhere
        assert (found.maps.amax((1, 2)) > 0).all()
    alone = attribute(
        model, images()[1:], LABELS[1:], method=method, gradient=steps, layers=layers
    ).maps
    peak = alone.max().clamp_min(1e-12)
    assert (found.maps[2:] - alone).abs().max() / peak < 2e-3


class TestSharedPasses:
    CONFIGS = (
        AttributionConfig(),
        AttributionConfig(method="layercam", layers=2),
        AttributionConfig(method="fullgrad"),
        AttributionConfig(method="saliency"),
        AttributionConfig(method="integrated_gradients", gradient=GradientConfig(steps=3)),
        AttributionConfig(gradient=GradientConfig(kind="integrated", steps=3)),
        AttributionConfig(method="base", gradient=GradientConfig(kind="guided")),
    )

    @pytest.mark.slow
    def test_many_ways_at_once_are_the_same_as_one_by_one(self):
        model = classifier("resnet18").double()
        together = attribute_many(model, images().double(), LABELS, self.CONFIGS)
        for config, found in zip(self.CONFIGS, together, strict=True):
            [alone] = attribute_many(model, images().double(), LABELS, [config])
            torch.testing.assert_close(found.maps, alone.maps, rtol=1e-9, atol=1e-12)

    def test_one_forward_pass_a_kind_of_gradient_and_number_of_classes(self):
        model = classifier("resnet18")
        passes = []
        model.register_forward_hook(lambda module, inputs, output: passes.append(len(inputs[0])))
        plain = [c for c in self.CONFIGS if c.resolved_gradient() == GradientConfig()]
        assert len(plain) == 4
        attribute_many(model, images(), LABELS, plain)
        assert passes == [1, 1]
        passes.clear()
        attribute_many(model, images(), torch.ones(2, 4), plain)
        assert passes == [2]


class TestFullGrad:
    @pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])  # ReLU, and ReLU6
    def test_its_terms_add_up_to_the_logit(self, name):
        torch.manual_seed(0)
        model = classifier(name).double()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 2)
                nn.init.normal_(module.bias)
                nn.init.uniform_(module.weight, 1, 4)
        classes = torch.tensor([[0, 2], [1, 3]])
        names = fullgrad_layers(model)
        batch = images((32, 32)).double()
        rounds = layer_rounds(model, batch, Question(classes), names, GradientConfig())
        for r, one in enumerate(rounds):
            terms = [
                fullgrad_terms(model, layer, one.activations[layer], one.gradients[layer])
                for layer in names
            ]
            total = sum(term.sum((1, 2, 3)) for term in terms)
            if name == "mobilenet_v2":
                ceilings = [t for t, n in zip(terms, names) if n.endswith((".2", ".1.2"))]
                assert any(t.abs().sum() > 0 for t in ceilings), "no ReLU6 is at its ceiling"
            expected = one.logits.gather(1, classes[:, r : r + 1])[:, 0]
            torch.testing.assert_close(total, expected, rtol=1e-9, atol=1e-9)

    @pytest.mark.slow
    def test_against_the_authors_code(self):
        """Their post-processing, layer by layer: absolute value, stretch, upsample, add."""
        model = classifier("vgg16")
        image = images((32, 48))[:1].requires_grad_(True)
        for module in model.modules():
            if hasattr(module, "inplace"):
                module.inplace = False
        kept = []
        convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
        handles = [c.register_forward_hook(lambda m, i, o: kept.append(o)) for c in convolutions]
        logit = model(image)[0, 1]
        gradients = torch.autograd.grad(logit, [image, *kept])
        for handle in handles:
            handle.remove()

        def process(term):
            term = term.abs()
            term = term - term.min()
            return term / (term.max() + 1e-6)

        expected = process(gradients[0] * image).sum(1)
        for conv, gradient in zip(convolutions, gradients[1:], strict=True):
            term = process(gradient * conv.bias[:, None, None])
            up = nn.functional.interpolate(term, (32, 48), mode="bilinear", align_corners=False)
            expected = expected + up.sum(1)
        found = attribute(
            model, image.detach(), torch.tensor([[0, 1, 0, 0]]), method="fullgrad"
        ).maps
        torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-3)


class TestAnyModule:
    @pytest.fixture
    def model(self):
        """A user's own network: nothing of ours, a layer that no output depends on."""

        class Own(nn.Module):
            def __init__(self):
                super().__init__()
                self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
                self.aside = nn.Conv2d(8, 8, 1)
                self.twice = nn.ReLU()
                self.deep = nn.Conv2d(8, 8, 3, 2, 1)
                self.out = nn.Linear(8, 4)

            def forward(self, x):
                x = self.twice(self.stem(x))
                self.aside(x)
                return self.out(self.twice(self.deep(x)).mean((2, 3)))

        torch.manual_seed(0)
        return Own().eval()

    def test_layers_by_name(self, model):
        maps = attribute(model, images(), LABELS, layers=["stem", "deep"]).maps
        assert maps.shape == (3, 64, 80)

    def test_usable_layers_are_those_that_work(self, model):
        usable = usable_layers(model, images())
        assert usable == ["stem.0", "stem.1", "stem", "deep"]
        for name in usable:
            attribute(model, images(), LABELS, layers=[name])
        for name in ("aside", "twice", "out"):
            with pytest.raises(ValueError, match=name):
                attribute(model, images(), LABELS, layers=[name])

    def test_a_wrong_name_gives_the_names_that_work(self, model):
        with pytest.raises(
            ValueError,
            match=r"'deeep'; did you mean 'deep'\? these layers work: input \(the images "
            r"themselves\), stem\.0, stem\.1, stem, deep$",
        ):
            attribute(model, images(), LABELS, layers=["deeep"])

    def test_without_default_layers_they_are_found_and_named(self, model):
        found = attribute(model, images(), LABELS)
        assert found.layers == ("deep",), "the stem has a stride of 2"
        by_name = attribute(model, images(), LABELS, layers=["deep"])
        assert torch.equal(found.maps, by_name.maps)

    def test_the_input_is_a_layer(self, model):
        tif = TIFConfig(base="ga", threshold="none", weights="one", normalise="none")
        maps = attribute(model, images(), LABELS, layers=[INPUT], tif=tif).maps
        batch = images().requires_grad_(True)
        gradient = torch.autograd.grad(model(batch)[0, 2], batch)[0][0]
        expected = (gradient * batch[0]).sum(0).relu().detach()
        torch.testing.assert_close(maps[1], expected)


class TestLabels:
    def test_class_indices_are_not_taken_for_multi_hot(self):
        with pytest.raises(
            ValueError, match="multi-hot values 0 and 1; class indices are given as a list"
        ):
            attribute(classifier("resnet18"), images(), torch.tensor([[2], [3]]))

    @pytest.mark.parametrize("width", [1, 3, 7])
    def test_a_column_for_each_logit(self, width):
        labels = torch.zeros(2, width)
        labels[:, -1] = 1
        with pytest.raises(ValueError, match=r"labels: (expected 4 columns|class 6 of a model)"):
            attribute(classifier("resnet18"), images(), labels)


def test_inference_mode_is_refused_and_bfloat16_works():
    model = classifier("resnet18")
    with torch.inference_mode(), pytest.raises(ValueError, match="no_grad"):
        attribute(model, images(), LABELS)
    exact = attribute(model, images(), LABELS).maps
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = attribute(model, images(), LABELS).maps
    assert rough.dtype == torch.float32
    assert ((rough - exact).abs().mean() / exact.mean()) < 0.2


class TestNumberOfLayers:
    def test_the_last_default_layers(self):
        model = classifier("resnet18")
        by_number = attribute(model, images(), LABELS, layers=2).maps
        by_name = attribute(model, images(), LABELS, layers=model.default_layers[-2:]).maps
        assert torch.equal(by_number, by_name)
        one = attribute(model, images(), LABELS, layers=model.default_layers[-1]).maps
        assert torch.equal(one, attribute(model, images(), LABELS, layers=1).maps)
        everything = attribute(model, images(), LABELS, layers=4).maps
        assert torch.equal(everything, attribute(model, images(), LABELS).maps)

    @pytest.mark.parametrize("count", [0, 5])
    def test_other_numbers_are_refused(self, count):
        with pytest.raises(ValueError, match="layers: "):
            attribute(classifier("resnet18"), images(), LABELS, layers=count)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"method": "saliency", "layers": ["features"]},
            "says itself where it looks",
        ),
        ({"method": "smoothgrad", "gradient": GradientConfig("guided")}, "defined by the smooth"),
        ({"method": "cam", "gradient": GradientConfig("smooth")}, "defined by the plain gradient"),
        ({"method": "fullgrad", "layers": 1}, "takes none"),
    ],
)
def test_options_that_contradict_the_method_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        AttributionConfig(**arguments)
