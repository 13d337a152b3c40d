"""Metrics of attributions against slow references, other packages, and what they must tell."""

import math

import numpy as np
import pytest
import torch
from scipy import fft, stats
from torch import nn

from tests.metrics import reference
from wsss.metrics.attribution import (
    BAND_EDGES,
    area_under_curve,
    confidence_change,
    deletion_curve,
    energy_enrichment,
    energy_pointing_game,
    gini,
    impute_noisy_linear,
    insertion_curve,
    pointing_game,
    randomisation_check,
    rank_correlation,
    road_curve,
    spectrum,
)
from wsss.models import BackboneConfig, build_classifier

EXACT = {"rtol": 1e-9, "atol": 1e-11}
N, H, W = 3, 14, 17
CLASSES = torch.tensor([0, 2, 1])


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(6, 4),
    ).double().eval()  # fmt: skip


@pytest.fixture(scope="module")
def images():
    return torch.randn(N, 3, H, W, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def maps():
    """One random map, one with many ties, one with zeros."""
    found = torch.rand(N, H, W, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    found[1] = (found[1] * 5).round()
    found[2] = (found[2] - 0.6).clamp_min(0)
    return found


@pytest.fixture(scope="module")
def masks():
    found = torch.zeros(N, H, W, dtype=torch.bool)
    found[0, 2:9, 3:8] = True
    found[1, :, 12:] = True
    return found


def each(*tensors):
    return zip(*(t.numpy() for t in tensors), strict=True)


class TestFidelity:
    def test_deletion(self, model, images, maps):
        found = deletion_curve(model, images, maps, CLASSES, steps=7, batch_size=5)
        for curve, image, grid, k in each(found, images, maps, CLASSES):
            slow = reference.step_curve(model, image, np.zeros_like(image), grid, k, 7)
            np.testing.assert_allclose(curve, slow, rtol=1e-9)

    def test_insertion(self, model, images, maps):
        found = insertion_curve(model, images, maps, CLASSES, steps=5)
        for curve, image, grid, k in each(found, images, maps, CLASSES):
            blurred = reference.gaussian_blur(image)
            slow = reference.step_curve(model, blurred, image, grid, k, 5)
            np.testing.assert_allclose(curve, slow, rtol=1e-9)

    def test_area(self):
        curves = torch.rand(4, 9, dtype=torch.float64)
        expected = [reference.trapezoid(curve) for curve in curves.tolist()]
        np.testing.assert_allclose(area_under_curve(curves), expected, rtol=1e-12)

    def test_curves_end_at_the_image(self, model, images, maps):
        whole = model(images).gather(1, CLASSES[:, None])[:, 0].sigmoid()
        deletion = deletion_curve(model, images, maps, CLASSES, steps=3)
        insertion = insertion_curve(model, images, maps, CLASSES, steps=3)
        torch.testing.assert_close(deletion[:, 0], whole, **EXACT)
        torch.testing.assert_close(insertion[:, -1], whole, **EXACT)
        grey = model(torch.zeros_like(images)).gather(1, CLASSES[:, None])[:, 0].sigmoid()
        torch.testing.assert_close(deletion[:, -1], grey, **EXACT)

    def test_a_map_of_what_the_model_uses_beats_its_reverse(self):
        """The logit is the mean of the left half: a map of that half is as good as can be."""

        class LeftHalf(nn.Module):
            def forward(self, images):
                return images[..., :8].mean((1, 2, 3))[:, None] * 4 - 2

        images = torch.ones(2, 3, 16, 16)
        good = torch.zeros(2, 16, 16)
        good[:, :, :8] = 1
        zero = torch.zeros(2, dtype=torch.int64)
        for curve, better in ((deletion_curve, torch.lt), (insertion_curve, torch.ge)):
            right = area_under_curve(curve(LeftHalf(), images, good, zero, steps=8))
            wrong = area_under_curve(curve(LeftHalf(), images, 1 - good, zero, steps=8))
            assert better(right, wrong).all()
        change = confidence_change(LeftHalf(), images, good, zero)
        assert change.drop.max() == 0
        assert confidence_change(LeftHalf(), images, 1 - good, zero).drop.min() > 0.5

    def test_confidence_change(self, model, images, maps):
        found = confidence_change(model, images, maps, CLASSES)
        for n, (image, grid, k) in enumerate(each(images, maps, CLASSES)):
            stretched = (grid - grid.min()) / (grid.max() - grid.min())
            before = reference.probability(model, image, k)
            after = reference.probability(model, image * stretched, k)
            assert found.drop[n] == pytest.approx(max(0, before - after) / before, rel=1e-9)
            assert found.increase[n] == (after > before)
            assert found.gain[n] == pytest.approx(max(0, after - before) / (1 - before), rel=1e-9)

    def test_confidence_change_is_that_of_grad_cam(self, model, images, maps):
        metrics = pytest.importorskip(
            "pytorch_grad_cam.metrics.cam_mult_image", reason="needs the package grad-cam"
        )
        stretched = maps / maps.amax((1, 2), keepdim=True)
        stretched[0, 0, 0], stretched[1, 0, 0] = 0, 0  # theirs does not stretch
        targets = [lambda logits, k=k: logits[k].sigmoid() for k in CLASSES.tolist()]
        arguments = (images, stretched[:, None].numpy(), targets, model)
        theirs = metrics.DropInConfidence()(*arguments)
        before = model(images).gather(1, CLASSES[:, None])[:, 0].sigmoid().detach().numpy()
        ours = confidence_change(model, images, stretched, CLASSES)
        np.testing.assert_allclose(ours.drop * before, theirs, rtol=1e-5, atol=1e-7)
        rose = metrics.IncreaseInConfidence()(*arguments)
        np.testing.assert_array_equal(ours.increase, rose)

    @pytest.mark.parametrize("order", ["morf", "lerf"])
    def test_road(self, model, images, maps, order):
        fractions = (0.2, 0.7)
        found = road_curve(model, images, maps, CLASSES, order=order, fractions=fractions, noise=0)
        for curve, image, grid, k in each(found, images, maps, CLASSES):
            cells = reference.downwards(grid if order == "morf" else -grid)
            for value, fraction in zip(curve, fractions, strict=True):
                removed = np.zeros((H, W), dtype=bool)
                for cell in cells[: round(fraction * H * W)]:
                    removed[cell] = True
                filled = reference.impute(image, removed)
                assert value == pytest.approx(reference.probability(model, filled, k), abs=1e-4)

    def test_no_pair_gives_no_value(self, model, images, maps):
        nothing = (model, images[:0], maps[:0], CLASSES[:0])
        assert deletion_curve(*nothing, steps=4).shape == (0, 5)
        assert insertion_curve(*nothing, steps=4).shape == (0, 5)
        assert road_curve(*nothing, order="morf", fractions=(0.1, 0.2)).shape == (0, 2)
        assert confidence_change(*nothing).drop.shape == (0,)

    def test_shapes_that_do_not_match_are_refused(self, model, images, maps):
        with pytest.raises(ValueError, match=r"\(N, H, W\) maps"):
            deletion_curve(model, images, maps[:, 1:], CLASSES)
        with pytest.raises(ValueError, match=r"classes: expected \(3,\)"):
            deletion_curve(model, images, maps, CLASSES[:2])


class TestImputation:
    @pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
    def test_against_a_dense_system(self, images, share):
        removed = torch.rand(N, H, W, generator=torch.Generator().manual_seed(5)) < share
        found = impute_noisy_linear(images, removed, noise=0, tolerance=1e-10)
        for mine, image, gap in each(found, images, removed):
            np.testing.assert_allclose(mine, reference.impute(image, gap), rtol=1e-6, atol=1e-8)

    def test_against_grad_cam(self, images):
        road = pytest.importorskip(
            "pytorch_grad_cam.metrics.road", reason="needs the package grad-cam"
        )
        removed = torch.zeros(H, W, dtype=torch.bool)
        removed[3:12, 5:] = True
        theirs = road.NoisyLinearImputer(noise=0)(images[0].float(), 1 - removed.float())
        ours = impute_noisy_linear(images[:1], removed[None], noise=0, tolerance=1e-9)[0]
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)

    def test_the_default_tolerance_is_below_the_noise(self, images):
        removed = torch.rand(N, H, W, generator=torch.Generator().manual_seed(6)) < 0.8
        exact = impute_noisy_linear(images, removed, noise=0, tolerance=1e-12)
        assert (impute_noisy_linear(images, removed, noise=0) - exact).abs().mean() < 0.001

    def test_noise_only_where_pixels_were_removed(self, images):
        removed = torch.zeros(N, H, W, dtype=torch.bool)
        removed[:, :7] = True
        clean = impute_noisy_linear(images, removed, noise=0)
        noisy = impute_noisy_linear(images, removed, noise=0.1)
        assert torch.equal(noisy[:, :, 7:], images[:, :, 7:])
        assert (noisy - clean)[:, :, :7].std() == pytest.approx(0.1, rel=0.1)
        assert torch.equal(noisy, impute_noisy_linear(images, removed, noise=0.1))
        assert not torch.equal(noisy, impute_noisy_linear(images, removed, noise=0.1, seed=1))

    def test_an_image_without_a_pixel_left_is_refused(self, images):
        with pytest.raises(ValueError, match="no pixel left"):
            impute_noisy_linear(images, torch.ones(N, H, W, dtype=torch.bool))


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
