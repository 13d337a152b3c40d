"""Localisation, concentration, spectrum and sanity of attributions against slow references."""

import math

import numpy as np
import pytest
import torch
from scipy import fft, stats
from torch import nn

from tests.metrics import reference
from tests.metrics.random_maps import H, N, W, each, maps
from wsss.metrics.attribution import (
    BAND_EDGES,
    energy_enrichment,
    energy_pointing_game,
    gini,
    pointing_game,
    randomisation_check,
    rank_correlation,
    spectrum,
)
from wsss.models import BackboneConfig, build_classifier

__all__ = ["maps"]


@pytest.fixture(scope="module")
def masks():
    found = torch.zeros(N, H, W, dtype=torch.bool)
    found[0, 2:9, 3:8] = True
    found[1, :, 12:] = True
    return found


class TestLocalisation:
    @pytest.mark.parametrize("tolerance", [0, 2, 2.9, 15])
    def test_pointing(self, maps, masks, tolerance):
        found = pointing_game(maps, masks, tolerance)
        slow = [reference.pointing(g, m, tolerance) for g, m in each(maps, masks)]
        assert found.tolist() == slow

    def test_the_tolerance_is_a_distance(self):
        maps, masks = torch.zeros(1, 40, 40), torch.zeros(1, 40, 40, dtype=torch.bool)
        maps[0, 10, 10] = 1
        masks[0, 19, 22] = True  # 9 down, 12 across: 15 pixels
        assert pointing_game(maps, masks, 15).all()
        assert not pointing_game(maps, masks, 14.99).any()
        assert not pointing_game(maps * 0, masks, 1000).any()

    def test_energy(self, maps, masks):
        scored = torch.ones_like(masks)
        scored[:, 5] = False
        found = energy_pointing_game(maps, masks, scored)
        for value, grid, mask, known in each(found, maps, masks, scored):
            assert value == pytest.approx(reference.energy(grid, mask, known), rel=1e-12)

    def test_a_constant_map_is_enriched_by_1(self, masks):
        scored = torch.ones_like(masks)
        scored[:, :3] = False
        found = energy_enrichment(torch.full((N, H, W), 0.3), masks, scored)
        np.testing.assert_allclose(found[:2], 1, rtol=1e-12)
        assert math.isnan(found[2])  # its class has no pixel

    def test_a_map_of_the_object_has_all_energy(self, masks):
        scored = torch.ones_like(masks)
        assert energy_pointing_game(masks[:2].double(), masks[:2], scored[:2]).tolist() == [1, 1]
        assert energy_pointing_game(torch.zeros(1, H, W), masks[:1], scored[:1]).item() == 0

    def test_masks_must_be_bool(self, maps, masks):
        with pytest.raises(ValueError, match="expected bool"):
            pointing_game(maps, masks.int(), 0)


class TestGini:
    def test_against_all_pairs(self, maps):
        expected = [reference.gini(grid) for grid in maps.numpy()]
        np.testing.assert_allclose(gini(maps), expected, rtol=1e-9)

    def test_extremes(self):
        single = torch.zeros(1, 10, 10)
        single[0, 4, 4] = 7
        assert gini(single).item() == pytest.approx(0.99)
        assert gini(torch.ones(1, 10, 10)).item() == pytest.approx(0, abs=1e-12)
        assert gini(torch.zeros(1, 10, 10)).item() == 0
        with pytest.raises(ValueError, match="at least 0"):
            gini(-single)


class TestSpectrum:
    def test_against_its_sums(self, maps):
        shares = spectrum(maps).shares()
        for found, grid in each(shares, maps):
            energies = reference.dct_energy(grid)
            total = sum(e for _, e in energies)
            low = sum(e for f, e in energies if f < BAND_EDGES[0]) / total
            high = sum(e for f, e in energies if f >= BAND_EDGES[1]) / total
            np.testing.assert_allclose(found, [low, 1 - low - high, high], atol=1e-9)

    def test_against_scipy(self):
        maps = torch.rand(2, 50, 70, dtype=torch.float64)
        theirs = fft.dctn(maps.numpy(), axes=(1, 2), norm="ortho") ** 2
        found = spectrum(maps)
        np.testing.assert_allclose(
            np.sort(found.energy, axis=1), np.sort(theirs.reshape(2, -1)[:, 1:], axis=1), rtol=1e-6,
            atol=1e-12,
        )  # fmt: skip
        assert (found.frequency.diff() >= 0).all()

    def test_distance_against_scipy(self, maps):
        first, second = spectrum(maps), spectrum(maps.flip(0).square())
        octaves = first.frequency.log2().numpy()
        expected = [
            stats.wasserstein_distance(octaves, octaves, a, b)
            for a, b in each(first.energy, second.energy)
        ]
        np.testing.assert_allclose(first.distance(second), expected, rtol=1e-9)

    def test_waves_lie_where_they_must(self):
        x = torch.arange(256, dtype=torch.float64) + 0.5
        waves = [torch.cos(2 * math.pi * f * x).expand(64, 256) for f in (1 / 64, 1 / 16, 1 / 4)]
        found = spectrum(torch.stack(waves))
        np.testing.assert_allclose(found.shares(), np.eye(3), atol=1e-9)
        octaves = found.distance(spectrum(torch.stack([waves[1]] * 3)))
        np.testing.assert_allclose(octaves, [2, 0, 2], atol=1e-9)

    def test_scaling_and_shifting_change_nothing(self, maps):
        torch.testing.assert_close(
            spectrum(maps * 7 + 3).shares(), spectrum(maps).shares(), rtol=1e-9, atol=1e-9
        )

    def test_a_constant_map_has_no_energy(self):
        for value in (0.0, 0.1, 1e6):
            found = spectrum(torch.full((1, 33, 21), value))
            assert found.shares().sum() == 0
            assert found.distance(found).isnan().all()


class TestSanity:
    def test_rank_correlation(self, maps):
        other = maps.flip(0)
        found = rank_correlation(maps, other)
        for value, a, b in each(found, maps, other):
            assert value == pytest.approx(reference.spearman(a, b), rel=1e-9)
            assert value == pytest.approx(stats.spearmanr(a.ravel(), b.ravel()).statistic, rel=1e-9)

    def test_randomisation_goes_from_the_output_to_the_input(self):
        torch.manual_seed(0)
        model = build_classifier(BackboneConfig(name="squeezenet1_0"), 3).eval()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        images = torch.randn(2, 3, 64, 64)
        seen = []

        def explain(network):
            changed = [n for n, v in network.state_dict().items() if not torch.equal(v, before[n])]
            seen.append({name.rpartition(".")[0] for name in changed})
            return network.backbone(images).mean(1).detach()

        found = randomisation_check(model, explain)
        names = list(found)
        assert names[0] == "head"
        assert names[-1] == "backbone.features.0"
        assert seen == [set(names[:i]) for i in range(len(names) + 1)]
        assert (found["head"] == 1).all(), "the features do not depend on the head"
        assert found[names[-1]].abs().max() < 0.9
        for name, value in model.state_dict().items():
            assert torch.equal(value, before[name])

    def test_layers_of_one_shape_become_different(self):
        model = nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1))
        kept = []

        def explain(network):
            kept.append([layer.weight.detach().clone() for layer in network])
            return network(torch.ones(1, 2, 4, 4))[:, 0].detach()

        randomisation_check(model, explain)
        assert not torch.equal(*kept[-1])

    def test_it_leaves_torchs_random_numbers_alone(self):
        model = nn.Sequential(nn.Conv2d(3, 2, 1))
        torch.manual_seed(4)
        expected = torch.rand(3)
        torch.manual_seed(4)
        randomisation_check(model, lambda network: network(torch.ones(1, 3, 4, 4))[:, 0].detach())
        assert torch.equal(torch.rand(3), expected)
