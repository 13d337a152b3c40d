"""Memory of normal images against distances by hand, and the step that adds them to scores."""

import numpy as np
import pytest
import torch

from wsss.refinement.maps import Context, LabelMaps, Picture
from wsss.refinement.normal import NormalConfig, prepare_normal
from wsss.refinement.normal.memory import NormalMemory, memorise
from wsss.refinement.normal.step import joined


def smoothed(features):
    """Mean of each cell and its neighbours, cell by cell."""
    channels, rows, columns = features.shape
    found = np.empty_like(features)
    for r in range(rows):
        for c in range(columns):
            window = features[:, max(0, r - 1) : r + 2, max(0, c - 1) : c + 2]
            found[:, r, c] = window.reshape(channels, -1).mean(axis=1)
    return found


@pytest.fixture
def normal():
    generator = np.random.default_rng(0)
    return [generator.normal(3, 2, (4, 5, 6)).astype(np.float32) for _ in range(3)]


def test_a_memory_of_all_cells_gives_the_distances_by_hand(normal):
    (memory,) = memorise([[one] for one in normal], cells=90, seed=0)
    columns = np.concatenate([one.reshape(4, -1) for one in normal], axis=1)
    np.testing.assert_allclose(memory.mean, columns.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(memory.deviation, columns.std(axis=1), rtol=1e-5)
    scaled = [
        smoothed((one - memory.mean[:, None, None]) / memory.deviation[:, None, None])
        for one in normal
    ]
    cells = [one.reshape(4, -1).T for one in scaled]

    def distance(cell, others):
        return min(float(np.linalg.norm(cell - other)) for other in np.concatenate(others))

    left_out = [
        distance(cell, [own for j, own in enumerate(cells) if j != i])
        for i, image in enumerate(cells)
        for cell in image
    ]
    assert memory.low == pytest.approx(np.median(left_out), rel=1e-4)
    assert memory.high == pytest.approx(np.quantile(left_out, 0.999), rel=1e-4)
    other = np.random.default_rng(5).normal(3, 4, (4, 5, 6)).astype(np.float32)
    seen = smoothed((other - memory.mean[:, None, None]) / memory.deviation[:, None, None])
    expected = np.array([distance(cell, cells) for cell in seen.reshape(4, -1).T]).reshape(5, 6)
    expected = np.maximum(0, (expected - memory.low) / (memory.high - memory.low))
    np.testing.assert_allclose(memory.unusual(other), expected, atol=1e-4)


def test_what_it_remembers_is_usual_and_a_spot_is_not(normal):
    (memory,) = memorise([[one] for one in normal], cells=90, seed=0)
    assert memory.unusual(normal[0]).max() == 0
    spotted = normal[0].copy()
    spotted[:, 2, 3] += 30
    unusual = memory.unusual(spotted)
    assert np.unravel_index(unusual.argmax(), unusual.shape) in [
        (r, c) for r in (1, 2, 3) for c in (2, 3, 4)
    ]
    assert unusual.max() > 1
    assert unusual[0, 0] == 0


def test_each_image_has_its_share_and_the_draw_its_seed(normal):
    few = [memorise([[one] for one in normal], cells=12, seed=seed)[0].cells for seed in (0, 0, 1)]
    assert len(few[0]) == 12
    assert np.array_equal(few[0], few[1])
    assert not np.array_equal(few[0], few[2])


def test_a_channel_that_never_speaks_does_no_harm(normal):
    for one in normal:
        one[2] = 7
    (memory,) = memorise([[one] for one in normal], cells=90, seed=0)
    assert np.isfinite(memory.unusual(normal[1] + 1)).all()


def test_one_image_is_too_few(normal):
    with pytest.raises(ValueError, match="at least two normal images, got 1"):
        memorise([[normal[0]]], cells=10, seed=0)


class TestFile:
    def test_it_comes_back(self, normal, tmp_path):
        written = NormalMemory(
            "ab12", ("layer1", "layer2"), 384, tuple(memorise([[n, n] for n in normal], 9, 0))
        )
        np.savez(tmp_path / "m.npz", **written.arrays())
        found = NormalMemory.read(tmp_path / "m.npz")
        assert (found.network, found.layers, found.long_side) == ("ab12", ("layer1", "layer2"), 384)
        for one, other in zip(found.memories, written.memories, strict=True):
            assert np.array_equal(one.cells, other.cells)
            assert (one.low, one.high) == (other.low, other.high)

    def test_something_else_is_named(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="memory of normal images"):
            NormalMemory.read(tmp_path / "none.npz")
        (tmp_path / "m.npz").write_bytes(b"PK no archive")
        with pytest.raises(ValueError, match=r"m\.npz: no memory of normal images"):
            NormalMemory.read(tmp_path / "m.npz")


class Eyes:
    """Networks whose features are the image's brightness, in cells of eight pixels."""

    def __init__(self):
        self.asked = []

    def features(self, image, checkpoint, layers, long_side):
        self.asked.append((layers, long_side))
        grey = torch.from_numpy(image[..., 0].astype(np.float32))[None, None]
        return [torch.nn.functional.avg_pool2d(grey, 8)[0].numpy()]


@pytest.fixture
def step(tmp_path):
    """The step of a memory of grey images, on one with a dark spot."""
    generator = np.random.default_rng(0)
    images = [generator.integers(118, 123, (64, 80, 3)).astype(np.uint8) for _ in range(4)]
    eyes = Eyes()
    memories = memorise([eyes.features(one, None, None, None) for one in images], 400, 0)
    memory = NormalMemory("x", ("a",), 96, tuple(memories))
    np.savez(tmp_path / "m.npz", **memory.arrays())
    spotted = images[0].copy()
    spotted[24:32, 40:48] = 20
    eyes.asked.clear()

    def prepare(weight=0.5):
        config = NormalConfig(tmp_path / "m.npz", tmp_path / "net.ckpt", weight)
        return prepare_normal([Picture(spotted)], config, Context(networks=eyes))

    return prepare, eyes


class TestStep:
    def test_it_finds_the_spot_and_leaves_the_background_alone(self, step):
        prepare, eyes = step
        scores = np.full((3, 64, 80), 0.2, np.float32)
        (found,) = prepare()([LabelMaps(scores, marginals=False)])
        assert eyes.asked == [(("a",), 96)]
        assert np.array_equal(found.values[0], scores[0])
        assert np.array_equal(found.values[1], found.values[2])
        assert found.values[1, 28, 44] == pytest.approx(0.6)
        assert found.values[1, 5, 5] < 0.2
        assert not found.marginals

    @pytest.mark.parametrize(("weight", "expected"), [(0.0, 0.2), (1.0, 1.0), (0.25, 0.4)])
    def test_weight_is_the_share_of_the_distance(self, step, weight, expected):
        scores = np.full((2, 64, 80), 0.2, np.float32)
        (found,) = step[0](weight)([LabelMaps(scores, marginals=False)])
        assert found.values[1, 28, 44] == pytest.approx(expected)

    def test_probabilities_are_refused(self):
        with pytest.raises(ValueError, match="put it before the crf"):
            joined(LabelMaps(np.ones((2, 3, 3), np.float32), marginals=True), np.zeros((3, 3)), 0.5)

    def test_it_asks_for_a_network(self, tmp_path):
        with pytest.raises(ValueError, match="asks for a network"):
            prepare_normal([], NormalConfig(tmp_path / "m", tmp_path / "c"), Context())

    def test_a_weight_out_of_range(self, tmp_path):
        with pytest.raises(ValueError, match=r"normal.weight: expected 0..1, got 2"):
            NormalConfig(tmp_path / "m", tmp_path / "c", 2.0)
