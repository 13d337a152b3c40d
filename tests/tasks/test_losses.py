"""Losses by hand, and what is ignored."""

import math

import pytest
import torch
import torch.nn.functional as F

from wsss.tasks.losses import cross_entropy, soft_cross_entropy


def batch(seed=0, labels=4, size=(2, 5, 6)):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(size[0], labels, *size[1:], generator=generator, dtype=torch.float64)
    truth = torch.randint(0, labels, size, generator=generator)
    truth[torch.rand(size, generator=generator) < 0.3] = 255
    return logits, truth


def probabilities(scores: list[float]) -> list[float]:
    total = sum(map(math.exp, scores))
    return [math.exp(score) / total for score in scores]


def slow(logits, truth, value):
    """Pixel by pixel: the sum of value(probabilities, label)."""
    total = 0.0
    for b, y, x in torch.cartesian_prod(*(torch.arange(n) for n in truth.shape)).tolist():
        label = int(truth[b, y, x])
        if label != 255:
            total += value(probabilities(logits[b, :, y, x].tolist()), label)
    return total


def test_cross_entropy_by_hand():
    logits, truth = batch()
    expected = slow(logits, truth, lambda p, y: -math.log(p[y])) / int((truth != 255).sum())
    assert float(cross_entropy(logits, truth)) == pytest.approx(expected, rel=1e-12)


def test_cross_entropy_is_torch_s_own():
    logits, truth = batch()
    theirs = F.cross_entropy(logits, truth, ignore_index=255)
    assert float(cross_entropy(logits, truth)) == pytest.approx(float(theirs), rel=1e-12)


def test_ignored_pixels_change_neither_loss_nor_gradient():
    logits, truth = batch()
    other = logits + 50 * torch.randn_like(logits) * (truth == 255)[:, None]
    assert not torch.equal(logits, other)
    results = []
    for start in (logits, other):
        start = start.clone().requires_grad_()
        found = cross_entropy(start, truth)
        found.backward()
        assert not start.grad[(truth == 255)[:, None].expand_as(start)].any()
        kept = start.grad * (truth != 255)[:, None]
        results.append((found.detach(), kept))
    assert torch.equal(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1])


def test_trap_13_a_batch_of_255_gives_0_and_no_nan():
    logits = torch.randn(2, 4, 5, 6, requires_grad=True)
    found = cross_entropy(logits, torch.full((2, 5, 6), 255))
    found.backward()
    assert found.item() == 0
    assert logits.grad.abs().max() == 0
    theirs = F.cross_entropy(logits, torch.full((2, 5, 6), 255), ignore_index=255)
    assert theirs.isnan(), "torch's own loss is no longer nan; the loss could be simpler"


def test_class_254_is_a_class_and_not_ignored():
    logits = torch.zeros(1, 255, 1, 2)
    truth = torch.tensor([[[254, 255]]])
    assert float(cross_entropy(logits, truth)) == pytest.approx(math.log(255))


def test_half_precision_stays_finite():
    logits, truth = batch(size=(2, 64, 64))
    assert torch.isfinite(cross_entropy(logits.bfloat16(), truth))


def test_parts_of_processes_add_up_to_the_loss_of_all(monkeypatch):
    """Two processes with unequal numbers of pixels; each knows the counts of both."""
    logits, truth = batch(2)
    truth[1, 2:] = 255
    whole = cross_entropy(logits, truth)
    counts = []
    monkeypatch.setattr("wsss.tasks.losses.add_up", lambda n: counts.append(n) or n)
    for part in (0, 1):
        cross_entropy(logits[part : part + 1], truth[part : part + 1])
    half = len(counts) // 2
    totals = [a + b for a, b in zip(counts[:half], counts[half:], strict=True)]
    parts = []
    for part in (0, 1):
        answers = iter(totals)
        monkeypatch.setattr("wsss.tasks.losses.add_up", lambda _, answers=answers: next(answers))
        parts.append(cross_entropy(logits[part : part + 1], truth[part : part + 1]))
    torch.testing.assert_close(sum(parts), whole)


class TestWeights:
    """Each pixel of an image counts as so many."""

    def test_by_hand(self):
        logits, truth = batch(3)
        sums = [
            slow(logits[b : b + 1], truth[b : b + 1], lambda p, y: -math.log(p[y])) for b in (0, 1)
        ]
        pixels = [int((truth[b] != 255).sum()) for b in (0, 1)]
        expected = (3 * sums[0] + 0.5 * sums[1]) / (3 * pixels[0] + 0.5 * pixels[1])
        found = cross_entropy(logits, truth, torch.tensor([3, 0.5]))
        assert float(found) == pytest.approx(expected, rel=1e-12)

    def test_three_is_the_image_three_times(self):
        logits, truth = batch(4)
        thrice = [torch.cat([one[:1], one[:1], one]) for one in (logits, truth)]
        found = cross_entropy(logits, truth, torch.tensor([3.0, 1.0]))
        assert float(found) == pytest.approx(float(cross_entropy(*thrice)), rel=1e-12)

    def test_equal_ones_change_nothing(self):
        logits, truth = batch(5)
        for weight in (1.0, 0.01):
            found = cross_entropy(logits, truth, torch.full((2,), weight))
            assert float(found) == pytest.approx(float(cross_entropy(logits, truth)), rel=1e-7)

    def test_trap_13_a_batch_of_255_gives_0_and_no_nan(self):
        logits = torch.randn(2, 4, 5, 6, requires_grad=True)
        found = cross_entropy(logits, torch.full((2, 5, 6), 255), torch.tensor([2.0, 1.0]))
        found.backward()
        assert found.item() == 0
        assert logits.grad.abs().max() == 0

    def test_of_a_teacher(self):
        logits, truth = batch(6)
        truth[truth == 255] = 0
        sure = 255 * F.one_hot(truth, 4).permute(0, 3, 1, 2).to(torch.uint8)
        weights = torch.tensor([2.0, 5.0])
        torch.testing.assert_close(
            soft_cross_entropy(logits, sure, weights), cross_entropy(logits, truth, weights),
            rtol=1e-6, atol=0,
        )  # fmt: skip

    def test_parts_of_processes_add_up(self, monkeypatch):
        logits, truth = batch(7)
        truth[1, 2:] = 255
        weights = torch.tensor([2.0, 5.0])
        whole = cross_entropy(logits, truth, weights)
        parts = (slice(0, 1), slice(1, 2))
        own = [weights[p] * (truth[p] != 255).sum() for p in parts]
        monkeypatch.setattr("wsss.tasks.losses.add_up", lambda _: sum(own)[0].double())
        found = [cross_entropy(logits[p], truth[p], weights[p]) for p in parts]
        torch.testing.assert_close(sum(found), whole)
