"""Deletion, insertion and ROAD against slow references, and the pixels that ROAD imputes."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.metrics import reference
from tests.metrics.random_maps import H, N, W, each, images, maps
from wsss.metrics.attribution import (
    area_under_curve,
    confidence_change,
    deletion_curve,
    impute_noisy_linear,
    insertion_curve,
    road_curve,
)

__all__ = ["images", "maps"]

EXACT = {"rtol": 1e-9, "atol": 1e-11}
CLASSES = torch.tensor([0, 2, 1])


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(6, 4),
    ).double().eval()  # fmt: skip


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
