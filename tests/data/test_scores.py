"""Score files: small, exact to half a step, and refused when damaged."""

import io
import pickle
import zipfile

import numpy as np
import pytest

from wsss.data import Scores, read_scores, write_scores
from wsss.data.scores import STRIDE, stored_size
from wsss.pipeline.mask_making.scoring import to_scores


def smooth_maps(count, height, width, seed=0):
    """Blobs as an attribution method makes them, at least 0, each with its own maximum."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    maps = []
    for _ in range(count):
        total = np.zeros((height, width))
        for _ in range(4):
            centre, spread = rng.uniform(0, 1, 2) * (height, width), rng.uniform(0.05, 0.2) * height
            distance = (y - centre[0]) ** 2 + (x - centre[1]) ** 2
            total += rng.uniform(0.3, 1) * np.exp(-distance / (2 * spread**2))
        maps.append(rng.uniform(0.1, 9) * total)
    return np.array(maps, np.float32)


def test_round_trip(tmp_path):
    rng = np.random.default_rng(0)
    scores = Scores(
        np.array([3, 15], np.uint8), rng.integers(0, 256, (2, 5, 8)).astype(np.uint8), (18, 30)
    )
    write_scores(tmp_path / "deep" / "a.npz", scores)
    found = read_scores(tmp_path / "deep" / "a.npz")
    assert found.classes.tolist() == [3, 15]
    assert np.array_equal(found.scores, scores.scores)
    assert found.size == (18, 30)
    assert all(type(side) is int for side in found.size)


def test_numpy_reads_it_without_pickle(tmp_path):
    write_scores(tmp_path / "a.npz", to_scores(smooth_maps(2, 21, 30), np.array([1, 4])))
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        assert sorted(archive) == ["classes", "scores", "size"]
        assert archive["classes"].dtype == np.uint8
        assert archive["scores"].dtype == np.uint8
        assert archive["scores"].shape == (2, 6, 8)
        assert archive["size"].tolist() == [21, 30]


def test_no_class(tmp_path):
    write_scores(
        tmp_path / "a.npz", Scores(np.zeros(0, np.uint8), np.zeros((0, 2, 3), np.uint8), (8, 9))
    )
    found = read_scores(tmp_path / "a.npz")
    assert found.full_size().shape == (0, 8, 9)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((4, 4), (1, 1)), ((5, 8), (2, 2)), ((375, 500), (94, 125)), ((1, 1), (1, 1))],
)
def test_stored_size(size, expected):
    assert STRIDE == 4
    assert stored_size(size) == expected


def test_full_size_is_bilinear_between_cell_centres():
    scores = Scores(np.array([1]), np.array([[[0, 255]]], np.uint8), (4, 8))
    row = scores.full_size()[0, 2]
    # centres at x = 1.5 and 5.5; outside of them the value is constant
    np.testing.assert_allclose(row, [0, 0, 1 / 8, 3 / 8, 5 / 8, 7 / 8, 1, 1], atol=1e-6)
    assert scores.full_size().dtype == np.float32


def test_quantisation_costs_at_most_half_a_step():
    """What is left of the difference is the stride's; against area averages there is none."""
    maps = smooth_maps(3, 376, 500)
    stored = to_scores(maps, np.array([1, 2, 3], np.uint8))
    averages = maps.reshape(3, 94, 4, 125, 4).astype(np.float64).mean(axis=(2, 4))
    exact = averages / averages.max(axis=(1, 2), keepdims=True)
    assert np.abs(stored.scores / 255 - exact).max() <= 0.5 / 255 + 1e-6
    whole = maps / maps.max(axis=(1, 2), keepdims=True)
    assert np.abs(stored.full_size() - whole).max() < 0.02


def test_trap_12_bytes_of_an_image(tmp_path):
    """500 x 375 with three smooth maps; float32 at full size is 2.25 MB."""
    write_scores(tmp_path / "a.npz", to_scores(smooth_maps(3, 375, 500), np.array([1, 2, 3])))
    assert (tmp_path / "a.npz").stat().st_size < 30_000


def scores_or_error(path):
    """The scores, or the message of the one error that may come."""
    try:
        return read_scores(path)
    except ValueError as error:
        return str(error)


class TestRefused:
    @pytest.fixture
    def path(self, tmp_path):
        write_scores(tmp_path / "a.npz", to_scores(smooth_maps(2, 40, 50), np.array([1, 4])))
        return tmp_path / "a.npz"

    def test_missing(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=rf"score file not found: {tmp_path}/a\.npz"):
            read_scores(tmp_path / "a.npz")

    @pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04"])
    def test_not_an_archive(self, tmp_path, content):
        (tmp_path / "a.npz").write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.npz: not a score file"):
            read_scores(tmp_path / "a.npz")

    def test_truncated_anywhere(self, path):
        content = path.read_bytes()
        for length in np.linspace(1, len(content) - 1, 40).astype(int):
            path.write_bytes(content[:length])
            with pytest.raises(ValueError, match=r"a\.npz: not a score file"):
                read_scores(path)

    def test_damaged_anywhere(self, path):
        content = np.frombuffer(path.read_bytes(), np.uint8)
        before = read_scores(path)
        rng = np.random.default_rng(0)
        refused = 0
        for _ in range(400):
            damaged = content.copy()
            damaged[rng.integers(0, len(content))] ^= rng.integers(1, 256, dtype=np.uint8)
            path.write_bytes(damaged.tobytes())
            found = scores_or_error(path)
            if isinstance(found, str):
                assert "a.npz" in found
                refused += 1
            else:
                assert np.array_equal(found.scores, before.scores), "damaged scores were read"
        assert refused > 200

    def test_a_bare_array_under_that_name(self, path):
        with path.open("wb") as file:
            np.save(file, np.zeros((2, 10, 13), np.uint8))
        with pytest.raises(ValueError, match=r"a\.npz: not a score file"):
            read_scores(path)

    def test_another_archive(self, path):
        np.savez(path, scores=np.zeros((1, 2, 2), np.uint8))
        with pytest.raises(ValueError, match=r"a\.npz: not a score file"):
            read_scores(path)

    @pytest.mark.parametrize(
        "change",
        [
            {"scores": np.zeros((2, 10, 12), np.uint8)},
            {"scores": np.zeros((1, 10, 13), np.uint8)},
            {"scores": np.zeros((2, 10, 13), np.float32)},
            {"size": np.array([40, 60])},
        ],
    )
    def test_fields_that_do_not_fit(self, path, change):
        with np.load(path) as archive:
            fields = dict(archive) | change
        np.savez(path, **fields)
        with pytest.raises(ValueError, match=r"a\.npz: expected uint8 scores of shape \(2, 10, 1"):
            read_scores(path)

    def test_a_pickle_that_would_run_code(self, path, tmp_path):
        class Evil:
            def __reduce__(self):
                return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

        np.savez(path, classes=np.array([Evil()], dtype=object), scores=np.zeros(1), size=[1, 1])
        with pytest.raises(ValueError, match=r"a\.npz: not a score file: .*plain numbers or texts"):
            read_scores(path)
        path.write_bytes(pickle.dumps(Evil()))
        with pytest.raises(ValueError, match=r"a\.npz: not a score file"):
            read_scores(path)
        member = io.BytesIO()
        with zipfile.ZipFile(member, "w") as archive:
            archive.writestr("size.npy", pickle.dumps(Evil()))
        path.write_bytes(member.getvalue())
        with pytest.raises(ValueError, match=r"a\.npz: not a score file"):
            read_scores(path)
        assert not (tmp_path / "ran").exists()
