"""Sparse counts of images against their dense sums, and the files of them."""

import numpy as np
import pytest

from tests.metrics import reference
from wsss.metrics import ImageCounts, confusion_counts, segmentation_scores, totals_of

LABELS = 5


def masks(count=6, seed=0):
    """Small (prediction, truth) with 255 in both; in the last one nothing is scored."""
    rng = np.random.default_rng(seed)
    values = np.array([*range(LABELS), 255], np.uint8)
    pairs = []
    for _ in range(count):
        some = rng.choice(values, 3, replace=False)
        pairs.append(tuple(some[rng.integers(0, 3, (2, 8, 9))]))
    pairs[-1] = pairs[-1][0], np.full((8, 9), 255, np.uint8)
    return pairs


@pytest.fixture
def dense():
    return np.stack([confusion_counts(*pair, LABELS) for pair in masks()])


@pytest.fixture
def images(dense):
    result = ImageCounts(LABELS)
    for i, counts in enumerate(dense):
        result.add(f"été {i}", counts)
    return result


def test_sums_and_scores_are_those_of_the_dense_counts(images, dense):
    assert len(images) == len(images.image_ids) == len(dense)
    assert images.pooled().tolist() == dense.sum(axis=0).tolist()
    assert images.pooled().dtype == np.int64
    for name, found in images.totals()._asdict().items():
        np.testing.assert_array_equal(found, getattr(totals_of(dense), name), err_msg=name)
    np.testing.assert_array_equal(images.miou(), segmentation_scores(dense).miou)
    assert np.isnan(images.miou()).tolist() == [False] * 5 + [True]


def test_errors_against_a_loop_over_pixels(images):
    found = np.transpose(images.errors())
    expected = [reference.error_shares(*pair) for pair in masks()]
    assert (np.array(expected).max(axis=0) > 0.1).all(), "an error never occurs; the test is weak"
    np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_counts_beyond_32_bits_are_exact():
    images = ImageCounts(2)
    for image_id in "ab":
        images.add(image_id, np.array([[2**40 + 1, 3, 0], [0, 2**33, 2**31]]))
    assert images.pooled().tolist() == [[2**41 + 2, 6, 0], [0, 2**34, 2**32]]
    assert images.totals().true[0].tolist() == [2**40 + 4, 2**33 + 2**31]


def test_select_keeps_the_order_asked_for(images, dense):
    chosen = images.select(["été 4", "été 0"])
    assert chosen.image_ids == ["été 4", "été 0"]
    assert chosen.totals().true.tolist() == dense[[4, 0]].sum(axis=2).tolist()
    assert images.select([]).pooled().sum() == 0
    with pytest.raises(ValueError, match="no counts of 2 images, for example 'x'"):
        images.select(["été 0", "x", "y"])


@pytest.mark.parametrize("first", [0, 2, 6])
def test_extending_is_adding_one_after_the_other(images, dense, first):
    parts = ImageCounts(LABELS), ImageCounts(LABELS)
    for i, counts in enumerate(dense):
        parts[i >= first].add(f"été {i}", counts)
    parts[0].extend(parts[1])
    for name, array in parts[0].arrays().items():
        np.testing.assert_array_equal(array, images.arrays()[name], err_msg=name)
    assert len(parts[1]) == 6 - first, "the other one is left as it was"
    with pytest.raises(ValueError, match="counts of été 0: the image was added before"):
        parts[0].add("été 0", dense[0])
    if first < 6:
        with pytest.raises(ValueError, match="counts of été 5: the image was added before"):
            parts[0].add("été 5", dense[5])


def test_extending_by_what_does_not_fit_is_refused_and_nothing_is_added(images, dense):
    other = ImageCounts(LABELS)
    other.add("new", dense[0])
    other.add("été 3", dense[3])
    with pytest.raises(ValueError, match="counts of été 3: the image was added before"):
        images.extend(other)
    with pytest.raises(ValueError, match="expected counts of 5 labels, got 4"):
        images.extend(ImageCounts(4))
    assert images.image_ids == [f"été {i}" for i in range(6)]
    images.add("new", dense[0])


def test_what_does_not_fit_is_refused(images):
    with pytest.raises(ValueError, match=r"counts of x: expected \(5, 6\), got \(4, 5\)"):
        images.add("x", np.zeros((4, 5), np.int64))
    with pytest.raises(ValueError, match="été 3"):
        images.add("été 3", np.ones((5, 6), np.int64))
    assert len(images) == 6


class TestFile:
    @pytest.fixture
    def path(self, images, tmp_path):
        np.savez_compressed(tmp_path / "images.npz", **images.arrays())
        return tmp_path / "images.npz"

    def test_round_trip(self, images, dense, path):
        read = ImageCounts.read(path)
        assert read.num_labels == LABELS
        assert read.image_ids == images.image_ids
        for name, found in read.totals()._asdict().items():
            np.testing.assert_array_equal(found, getattr(images.totals(), name), err_msg=name)
        read.add("new", dense[0])
        assert read.pooled().tolist() == (dense.sum(axis=0) + dense[0]).tolist()
        again = read.select(["new"]).totals()
        np.testing.assert_array_equal(again.true[0], dense[0].sum(axis=1))

    @pytest.mark.parametrize("count", [0, 1])
    def test_round_trip_of_few(self, count, dense, tmp_path):
        images = ImageCounts(LABELS)
        for i in range(count):
            images.add(f"{i}", dense[i])
        np.savez_compressed(tmp_path / "few.npz", **images.arrays())
        read = ImageCounts.read(tmp_path / "few.npz")
        assert read.totals().true.tolist() == dense[:count].sum(axis=2).tolist()
        read.add("new", dense[2])
        expected = dense[[*range(count), 2]].sum(axis=2)
        assert read.totals().true.tolist() == expected.tolist()

    def test_the_layout_is_what_the_module_says(self, images, dense, path):
        with np.load(path, allow_pickle=False) as archive:
            start, cell, count = (archive[name] for name in ("start", "cell", "count"))
            assert archive["image_id"].tolist() == images.image_ids
            assert archive["num_labels"] == LABELS
        for i, counts in enumerate(dense):
            own = slice(start[i], start[i + 1])
            found = np.zeros_like(counts)
            found[np.divmod(cell[own], LABELS + 1)] = count[own]
            assert found.tolist() == counts.tolist()

    @pytest.mark.parametrize(
        ("name", "change"),
        [
            ("start", lambda start: start[:-1]),
            ("start", lambda start: start[::-1]),
            ("start", lambda start: start + 1),
            ("start", lambda start: start[0]),
            ("start", lambda start: start.astype(float)),
            ("cell", lambda cell: cell[:-1]),
            ("cell", lambda cell: cell[:, None]),
            ("cell", lambda cell: cell + 0.5),
            ("cell", lambda cell: np.full_like(cell, LABELS * (LABELS + 1))),
            ("cell", lambda cell: -1 - cell),
            ("count", lambda count: count * 0),
            ("image_id", lambda image_id: image_id[1:]),
            ("image_id", lambda image_id: image_id.astype(object)),
            ("image_id", lambda image_id: image_id[[0] * len(image_id)]),
            ("num_labels", lambda labels: labels - 1),
            ("num_labels", lambda labels: -labels - 1),
        ],
    )
    def test_changed_parts_are_refused_by_name(self, images, tmp_path, name, change):
        arrays = images.arrays()
        arrays[name] = change(arrays[name])
        np.savez(tmp_path / "x.npz", **arrays)
        with pytest.raises(ValueError, match=r"x\.npz: not a file of confusion counts"):
            ImageCounts.read(tmp_path / "x.npz")

    def test_cells_and_counts_of_two_axes_are_refused(self, images, tmp_path):
        arrays = images.arrays()
        for name in ("cell", "count"):
            arrays[name] = arrays[name][:, None]
        np.savez(tmp_path / "x.npz", **arrays)
        with pytest.raises(ValueError, match=r"x\.npz: not a file of confusion counts"):
            ImageCounts.read(tmp_path / "x.npz")

    @pytest.mark.parametrize(
        "damage",
        [
            lambda path, data: path.write_bytes(data[: len(data) // 2]),
            lambda path, data: path.write_bytes(b""),
            lambda path, data: path.write_text("image,miou"),
            lambda path, data: np.save(path.open("wb"), np.zeros(3)),
            lambda path, data: np.savez(path, start=np.zeros(1)),
            lambda path, data: path.write_bytes(data[:200] + b"\0" * 40 + data[240:]),
        ],
    )
    def test_damaged_files_are_refused_by_name(self, path, damage):
        damage(path, path.read_bytes())
        with pytest.raises(ValueError, match=r"images\.npz: not a file of confusion counts"):
            ImageCounts.read(path)

    def test_no_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no counts of images: .*none\.npz"):
            ImageCounts.read(tmp_path / "none.npz")
