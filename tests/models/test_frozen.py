"""The frozen part and what follows it are the network; its digest is that of the activations."""

import pytest
import torch
from torch import nn

from wsss.models.backbones import BackboneConfig, freeze_up_to
from wsss.models.classifier import build_classifier
from wsss.models.frozen import FrozenPart
from wsss.models.pooling import PoolingConfig
from wsss.models.segmenter import SegmenterConfig, build_segmenter

BACKBONE = "narrow_resnet10"


def classifier(stages=None, pooling=PoolingConfig(), **changes):
    torch.manual_seed(0)
    config = BackboneConfig(BACKBONE, **changes)
    return build_classifier(config, 3, stages=stages, pooling=pooling).eval()


def of_several_stages():
    return classifier(stages=["layer1", "layer2", "layer4"], pooling=PoolingConfig("lse"))


def segmenter(name="deeplabv2", seed=0):
    torch.manual_seed(seed)
    config = SegmenterConfig(name, BACKBONE, output_stride=8, rates=(1, 2, 3), channels=32)
    return build_segmenter(config, 4).eval()


@pytest.fixture
def images():
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("freeze", ["all", "layer1", "layer2", "layer4"])
@pytest.mark.parametrize(
    "model", [classifier, of_several_stages, segmenter, lambda: segmenter("deeplabv3plus")]
)
def test_both_parts_are_the_network(model, freeze, layout, images):
    network = model().to(memory_format=layout)
    frozen = FrozenPart(network, freeze)
    kept = [
        values.clone(memory_format=torch.contiguous_format) for values in frozen.compute(images)
    ]
    with torch.no_grad():
        found, expected = frozen.finish(kept, (64, 96)), network(images)
    # other layouts in memory add up in another order
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    if layout == torch.contiguous_format:
        assert torch.equal(found, expected)


def test_a_classifier_that_is_fixed_throughout_keeps_a_number_a_channel(images):
    assert [values.shape for values in FrozenPart(classifier(), "all").compute(images)] == [
        (2, 128)
    ]


@pytest.mark.parametrize("freeze", ["all", "layer2"])
@pytest.mark.parametrize("model", [classifier, of_several_stages])
def test_padding_is_left_out_of_what_is_kept_too(model, freeze, images):
    network = model()
    box = torch.tensor([[0, 0, 40, 96], [16, 32, 64, 96]])
    frozen = FrozenPart(network, freeze)
    with torch.no_grad():
        found = frozen.finish(frozen.compute(images, box), (64, 96), box)
        assert torch.equal(found, network(images, box))
        assert not torch.allclose(found, network(images))


def test_the_frozen_part_is_in_eval_mode_and_gets_its_own_modes_back(images):
    network = classifier().train()
    network.backbone.layer3.eval()
    network.backbone.layer1.append(nn.Dropout(0.5))
    frozen = FrozenPart(network, "layer2")
    modes = {name: part.training for name, part in network.named_modules()}
    mean = network.backbone.bn1.running_mean.clone()
    assert torch.equal(frozen.compute(images)[0], frozen.compute(images)[0])
    assert torch.equal(network.backbone.bn1.running_mean, mean)
    assert {name: part.training for name, part in network.named_modules()} == modes


class TestDigest:
    def test_what_follows_does_not_count(self):
        """Networks with other heads share what is kept; BatchNorm's counter is of no weight."""
        network, other = segmenter(), segmenter()
        other.head.branches[0].weight.data += 1
        other.backbone.layer3[0].conv1.weight.data += 1
        other.backbone.bn1.num_batches_tracked += 5
        assert FrozenPart(network, "layer2").digest() == FrozenPart(other, "layer2").digest()
        assert FrozenPart(network, "all").digest() != FrozenPart(other, "all").digest()

    @pytest.mark.parametrize("name", ["conv1.weight", "bn1.running_var", "layer2.0.bn2.bias"])
    def test_every_weight_and_statistic_counts(self, name):
        network = segmenter()
        before = FrozenPart(network, "layer2").digest()
        network.backbone.state_dict()[name][0] += 1e-3
        assert FrozenPart(network, "layer2").digest() != before

    def test_strides_layers_and_what_is_kept_count(self):
        digests = {
            FrozenPart(classifier(output_stride=16), "all").digest(),
            # the same weights, and another grid
            FrozenPart(classifier(output_stride=8), "all").digest(),
            FrozenPart(classifier(output_stride=8, dilation="dilate"), "all").digest(),
            FrozenPart(segmenter(), "all").digest(),
            FrozenPart(segmenter("deeplabv3plus"), "all").digest(),
            FrozenPart(segmenter(), "layer2").digest(),
            FrozenPart(segmenter(), "layer3").digest(),
        }
        assert len(digests) == 7

    def test_the_layout_in_memory_does_not(self):
        network = segmenter()
        before = FrozenPart(network, "all").digest()
        assert FrozenPart(network.to(memory_format=torch.channels_last), "all").digest() == before


def test_all_freezes_the_backbone_and_nothing_else():
    network = classifier()
    freeze_up_to(network.backbone, "all")
    assert [name for name, p in network.named_parameters() if p.requires_grad] == ["head.weight"]
