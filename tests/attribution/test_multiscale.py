"""Maps averaged over scales and flips, and the sizes that a scale makes."""

import torch
from torch import nn

from tests.attribution.lively import EXACT, images_and_labels, model
from wsss.attribution import MultiScaleConfig, attribute
from wsss.attribution.multiscale import attribute_multiscale

__all__ = ["model"]


class TestMultiScale:
    def test_one_scale_without_flip_is_plain_attribution(self, model):
        images, labels = images_and_labels()
        config = MultiScaleConfig(scales=(1.0,), flip=False)
        maps = attribute_multiscale(model, images[0], labels[0], config)
        torch.testing.assert_close(maps, attribute(model, images[:1], labels[:1]).maps, **EXACT)

    def test_average_over_scales_and_flips(self, model):
        images, labels = images_and_labels()
        config = MultiScaleConfig(scales=(1.0, 1.5), flip=True)
        total = 0
        for size in ((32, 40), (48, 60)):
            scaled = images[:1]
            if size != (32, 40):
                scaled = nn.functional.interpolate(scaled, size, mode="bilinear", antialias=True)
            total = total + attribute(model, scaled, labels[:1], size=(32, 40)).maps
            mirrored = attribute(model, scaled.flip(3), labels[:1], size=(32, 40)).maps
            total = total + mirrored.flip(2)
        maps = attribute_multiscale(model, images[0], labels[0], config)
        torch.testing.assert_close(maps, total / 4, **EXACT)

    def test_a_mirrored_image_gives_mirrored_maps(self, model):
        images, labels = images_and_labels()
        config = MultiScaleConfig(scales=(0.5, 1.0), flip=True)
        maps = attribute_multiscale(model, images[0], labels[0], config)
        mirrored = attribute_multiscale(model, images[0].flip(2), labels[0], config)
        torch.testing.assert_close(maps, mirrored.flip(2), **EXACT)

    def test_sizes(self):
        config = MultiScaleConfig(scales=(0.5, 1.0), long_side=384, cell=16)
        assert config.sizes(375, 500) == [(145, 193), (289, 385)]
        assert MultiScaleConfig(scales=(1.0, 2.0)).sizes(375, 500) == [(375, 500), (750, 1000)]
