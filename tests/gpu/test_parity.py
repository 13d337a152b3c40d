"""A GPU computes what the CPU computes: attribution by every method, every refinement step."""

import numpy as np
import pytest
import torch

from tests.attribution.networks import LABELS, classifier, images
from tests.refinement.test_step_contracts import photograph
from wsss.attribution import METHODS, GradientConfig, MultiScaleConfig, attribute
from wsss.data.transforms import normalised_on
from wsss.metrics import SegmentationMetric
from wsss.metrics.confusion import confusion_counts
from wsss.normalisation import IMAGENET
from wsss.parallel.devices import full_float32
from wsss.pipeline.refining import context_on
from wsss.refinement import CRFConfig, LabelMaps, RefinementChain
from wsss.refinement.pamr import PAMRConfig
from wsss.refinement.par import PARConfig
from wsss.refinement.walk import WalkConfig

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def float32():
    """As commands compute."""
    with full_float32():
        yield


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet50", "vit_b_16"])
@pytest.mark.parametrize("method", METHODS)
def test_attribution(name, method):
    if name == "vit_b_16" and method in ("fullgrad", "guided_backprop"):
        pytest.skip("not defined for networks without ReLU")
    if name != "vit_b_16" and method in ("legrad", "rollout"):
        pytest.skip("not defined for networks without attention")
    model, steps = classifier(name).double(), GradientConfig(steps=2)
    options = {"method": method, "gradient": steps, "scales": MultiScaleConfig((0.5, 1.0))}
    if method in ("scorecam", "ablationcam"):  # a pass for each channel
        options["layers"] = model.default_layers[:1]
    there = images().double()
    expected = attribute(model, there, LABELS, **options).maps
    found = attribute(model.cuda(), there.cuda(), LABELS, **options).maps
    assert found.device.type == "cuda"
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-6, atol=1e-9 * float(expected.max()))
    single = attribute(model.float(), images().cuda(), LABELS, **options).maps
    distance = (single.cpu() - expected).norm() / expected.norm()
    assert distance < 1e-2


@pytest.mark.parametrize(
    "step",
    [
        CRFConfig(backend="torch"),
        CRFConfig(backend="fast"),
        PAMRConfig(),
        PARConfig(),
        WalkConfig(),
    ],
    ids=lambda step: type(step).__name__ + getattr(step, "backend", ""),
)
@pytest.mark.parametrize("marginals", [False, True])
def test_refinement(step, marginals):
    sizes = [(60, 80), (60, 80), (41, 37)]
    pictures = [photograph(size, seed) for seed, size in enumerate(sizes)]
    maps = []
    for seed, size in enumerate(sizes):
        values = np.random.default_rng(seed).random((4, *size)).astype(np.float32)
        values = values / values.sum(axis=0) if marginals else values
        maps.append(LabelMaps(values, marginals))
    chain = RefinementChain((step,))
    expected = chain.prepare(pictures, context_on("cpu"))(maps)
    found = chain.prepare(pictures, context_on("cuda"))(maps)
    again = chain.prepare(pictures, context_on("cuda"))(maps)
    for one, other, twin in zip(found, expected, again, strict=True):
        np.testing.assert_allclose(one.values, other.values, atol=2e-4)
        agreement = np.mean(one.values.argmax(axis=0) == other.values.argmax(axis=0))
        assert agreement > 0.999
        # cuSPARSE adds a vertex's pixels up in an order of its own
        own_order = isinstance(step, CRFConfig) and step.backend == "torch"
        np.testing.assert_allclose(one.values, twin.values, rtol=0, atol=1e-6 * own_order)


def test_images_are_normalised_to_the_same_bits():
    pictures = [photograph((41, 37), seed).image for seed in range(3)]
    expected = normalised_on(pictures, IMAGENET, torch.device("cpu"))
    found = normalised_on(pictures, IMAGENET, torch.device("cuda"))
    assert found.device.type == "cuda"
    assert torch.equal(found.cpu(), expected)


def test_pairs_are_where_the_maps_are():
    model = classifier("mobilenet_v2").cuda()
    for labels in (LABELS, LABELS.cuda(), [[0, 2], [2]]):
        found = attribute(model, images().cuda(), labels, method="cam")
        assert {one.device.type for one in found[:3]} == {"cuda"}
        assert found.class_index.tolist() == [0, 2, 2]


def test_confusion_counts():
    generator = np.random.default_rng(0)
    prediction, truth = generator.integers(0, 21, (2, 3, 50, 60))
    truth[generator.random(truth.shape) < 0.1] = 255
    expected = confusion_counts(prediction, truth, 21)
    metric = SegmentationMetric(21).cuda()
    metric.update(torch.from_numpy(prediction).cuda(), torch.from_numpy(truth).cuda())
    np.testing.assert_array_equal(metric.counts.cpu().numpy(), expected)
