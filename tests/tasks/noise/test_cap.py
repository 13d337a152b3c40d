"""Once a batch's loss is under the cap, a pixel counts at most the cap."""

import pytest
import torch

from tests.tasks.noise.planted import train
from wsss.tasks.noise.cap import capped
from wsss.tasks.noise.config import NoiseConfig
from wsss.tasks.noise.supervision import Supervision

VALUES = torch.tensor([[[0.0, 0.2, 0.4, 3.0]]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("batch", "expected"), [(0.49, [0.0, 0.2, 0.4, 0.5]), (0.5, [0.0, 0.2, 0.4, 3.0])]
)
def test_by_hand(batch, expected):
    values = VALUES.clone().requires_grad_()
    found = capped(values, torch.tensor(batch, dtype=torch.float64), 0.5)
    assert found.ravel().tolist() == expected
    found.sum().backward()
    assert values.grad.ravel().tolist() == [float(v <= 0.5 or batch >= 0.5) for v in VALUES.ravel()]


def test_the_batch_is_that_of_all_processes(monkeypatch):
    """This process's part is under the cap, the loss of all is not."""
    monkeypatch.setattr("wsss.tasks.noise.cap.add_up", lambda part: part + 0.2)
    assert torch.equal(capped(VALUES, torch.tensor(0.4), 0.5), VALUES)
    assert not torch.equal(capped(VALUES, torch.tensor(0.2), 0.5), VALUES)


def test_in_a_batch():
    """The mean of the capped values, where the plain mean is under the cap."""
    logits = torch.zeros(1, 2, 1, 10, dtype=torch.float64)
    logits[0, 0] = 8.0
    labels = torch.tensor([[[0] * 7 + [1, 255, 255]]])
    whole = Supervision(noise=NoiseConfig(cap=2.0))(logits, labels, torch.tensor([0]), 0)
    small = torch.log1p(torch.exp(torch.tensor(-8.0, dtype=torch.float64)))
    assert float(whole) == pytest.approx((7 * float(small) + 2.0) / 8, rel=1e-12)
    above = Supervision(noise=NoiseConfig(cap=1.0))(logits, labels, torch.tensor([0]), 0)
    assert float(above) == pytest.approx((8 * float(small) + 8.0) / 8, rel=1e-12)


def test_a_planted_error_is_learned_less():
    by_heart = train(Supervision())[1]
    assert by_heart < 0.2
    assert train(Supervision(noise=NoiseConfig(cap=0.5)))[1] > by_heart + 0.3


def test_a_cap_of_0_is_refused():
    with pytest.raises(ValueError, match=r"noise\.cap: expected above 0 or null, got 0"):
        NoiseConfig(cap=0.0)
