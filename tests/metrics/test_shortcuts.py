"""What a classifier tells by a region: with classifiers whose reasons are known."""

import math

import pytest
import torch

from wsss.metrics.attribution.shortcuts import map_agreement, region_evidence, separation

OBJECT = (slice(8, 16), slice(20, 28))
BORDER = (slice(0, 4), slice(0, 4))


def by(place):
    """A classifier that looks at one place alone."""

    def model(images):
        bright = images[:, :, place[0], place[1]].mean(dim=(1, 2, 3))
        return torch.stack([8 * bright - 4, bright], dim=1)

    return model


@pytest.fixture
def image():
    found = torch.zeros(1, 3, 32, 48)
    found[:, :, OBJECT[0], OBJECT[1]] = 1
    found[:, :, BORDER[0], BORDER[1]] = 1
    return found


@pytest.fixture
def marked():
    found = torch.zeros(1, 32, 48, dtype=torch.bool)
    found[:, OBJECT[0], OBJECT[1]] = True
    return found


CLASS = torch.tensor([0])


def test_the_region_keeps_what_is_told_by_it(image, marked):
    found = region_evidence(by(OBJECT), image, marked, CLASS)
    assert found.whole.item() > 0.95
    assert found.kept.item() == pytest.approx(found.whole.item(), abs=0.01)
    assert found.left.item() < 0.1
    assert found.area.item() == pytest.approx(64 / (32 * 48))


def test_a_shortcut_stays_where_the_region_is_taken_away(image, marked):
    # of the region alone the corner is filled in from the object's border, which is bright: grey
    image[:, :, OBJECT[0], OBJECT[1]] = 0.1
    found = region_evidence(by(BORDER), image, marked, CLASS)
    assert found.whole.item() > 0.95
    assert found.kept.item() < 0.1
    assert found.left.item() == pytest.approx(found.whole.item(), abs=0.01)


def test_more_is_taken_away_than_marked_where_that_is_asked(image, marked):
    narrow = torch.zeros_like(marked)
    narrow[:, 10:14, 22:26] = True
    found = region_evidence(by(OBJECT), image, narrow, CLASS, around=marked)
    assert found.left.item() < 0.1
    assert region_evidence(by(OBJECT), image, narrow, CLASS).left.item() > 0.5


@pytest.mark.parametrize("all_or_nothing", [True, False])
def test_a_region_of_everything_or_nothing(image, all_or_nothing):
    everything = torch.full((1, 32, 48), all_or_nothing)
    found = region_evidence(by(OBJECT), image, everything, CLASS)
    grey = by(OBJECT)(torch.zeros_like(image))[0, 0].sigmoid()
    taken, other = (found.left, found.kept) if all_or_nothing else (found.kept, found.left)
    assert taken.item() == pytest.approx(grey.item())
    assert other.item() == pytest.approx(found.whole.item())


def test_maps_that_stay_where_they_are_agree():
    whole = torch.rand(20, 30, generator=torch.Generator().manual_seed(0))
    assert map_agreement(whole, 3 * whole + 1) == pytest.approx(1)
    assert map_agreement(whole, -whole) == pytest.approx(-1)
    assert abs(map_agreement(whole, whole.flip(1))) < 0.2
    assert math.isnan(map_agreement(whole, torch.ones(20, 30)))


def test_separation_counts_pairs():
    present, absent = torch.tensor([0.9, 0.5, 0.2]), torch.tensor([0.5, 0.1])
    # 0.9 above both, 0.5 equal to one and above the other, 0.2 above one
    assert separation(present, absent) == pytest.approx((2 + 1.5 + 1) / 6)
    assert math.isnan(separation(present, torch.tensor([])))
