"""cls_labels.npy of irn and psa, through an unpickler that can build nothing but data."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.sources.fuzz import assert_clean
from tests.data.sources.test_table import MANY
from wsss.data import DataConfig, load_records
from wsss.data.sources.label_arrays import load_dict

CLASSES = {"dog": 12, "cat": 8}


def config(root: Path, ids: list[str], **changes) -> DataConfig:
    lists = root / "ImageSets/Segmentation"
    lists.mkdir(parents=True, exist_ok=True)
    (lists / "train.txt").write_text("\n".join(ids), encoding="utf-8")
    return DataConfig(
        **{"root": root, "classes": CLASSES, "labels": Path("cls_labels.npy")} | changes
    )


def labels(data: DataConfig) -> dict[str, list[float]]:
    found = load_records(data, "train", with_labels=True)
    return {record.image_id: record.labels.tolist() for record in found}


def one_hot(*values: int) -> np.ndarray:
    vector = np.zeros(20, np.float32)
    vector[[value - 1 for value in values]] = 1
    return vector


@pytest.mark.parametrize(
    ("ids", "keys"),
    [
        (["2007_000032", "2008_000001"], ["2007_000032", "2008_000001"]),
        (["2007_000032", "2008_000001"], [2007000032, 2008000001]),
        (["2007_000032", "2008_000001"], [np.int64(2007000032), np.int64(2008000001)]),
        (["COCO_train2014_000000000009", "COCO_train2014_000000000025"], [9, 25]),
        (["my cat", "猫"], ["my cat", "猫"]),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.int64, bool, np.uint8])
def test_what_numpy_has_saved(tmp_path, ids, keys, dtype):
    """Entries stand for the classes by their mask values, whatever the order of the classes."""
    found = dict(zip(keys, (one_hot(8), one_hot(8, 12)), strict=True))
    np.save(tmp_path / "cls_labels.npy", {k: v.astype(dtype) for k, v in found.items()})
    assert labels(config(tmp_path, ids)) == {ids[0]: [0, 1], ids[1]: [1, 1]}


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_of_pickle(tmp_path, protocol):
    content = {"a": one_hot(12), "b": one_hot()}
    array = np.array(content, dtype=object)
    with (tmp_path / "cls_labels.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"shape": (), "fortran_order": False, "descr": "|O"}
        )
        pickle.dump(array, file, protocol=protocol)  # what np.save does; ours reads it back
    assert labels(config(tmp_path, ["a", "b"])) == {"a": [1, 0], "b": [0, 0]}


def test_labels_of_other_classes(tmp_path):
    np.save(tmp_path / "cls_labels.npy", {"a": one_hot(7, 12)})
    with pytest.raises(ValueError, match=r"entry 'a': label 'number 7' of image 'a'"):
        labels(config(tmp_path, ["a"]))
    assert labels(config(tmp_path, ["a"], other_labels="ignore")) == {"a": [1, 0]}


class Exploit:
    """What runs a command when pickle reads it."""

    def __init__(self, call, *arguments):
        self.reduced = (call, arguments)

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize(
    "exploit",
    [
        lambda mark: Exploit(os.system, f"touch {mark}"),
        lambda mark: Exploit(exec, f"open({str(mark)!r}, 'w')"),
        lambda mark: Exploit(open, str(mark), "w"),
        lambda mark: Exploit(np.memmap, str(mark), "uint8", "w+", 0, (3,)),
        lambda mark: Exploit(np.ndarray.tofile, np.zeros(3), str(mark)),
        lambda mark: Exploit(__import__, "os"),
        lambda mark: {"a": [Exploit(os.mkdir, str(mark))]},
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_nothing_in_the_file_is_run(tmp_path, exploit, protocol):
    mark = tmp_path / "mark"
    path = tmp_path / "cls_labels.npy"
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"shape": (), "fortran_order": False, "descr": "|O"}
        )
        pickle.dump(exploit(mark), file, protocol=protocol)  # hostile on purpose
    with pytest.raises(ValueError, match=rf"{path}: expected a dict of labels as np.save writes"):
        labels(config(tmp_path, ["a"]))
    assert not mark.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros(3), r"expected a dict of labels as np.save writes it: it holds an array \(3,\)"),
        (np.array(7, object), "found int"),
        ({"b": one_hot()}, r"no entry for 'a'; its entries are 'b'"),
        ({"a": [1, 0]}, r"entry 'a': expected an array \(K,\) of 0 and 1"),
        ({"a": np.full(20, 0.5)}, r"entry 'a': expected an array"),
        ({"a": np.zeros((2, 20))}, r"entry 'a': expected an array"),
        ({"a": np.array([None])}, r"entry 'a': expected an array"),
    ],
)
def test_refused(tmp_path, content, message):
    path = tmp_path / "cls_labels.npy"
    np.save(path, content, allow_pickle=True)  # written here; ours reads it and runs nothing
    with pytest.raises(ValueError, match=message) as caught:
        labels(config(tmp_path, ["a"]))
    assert str(path) in str(caught.value)


@MANY
@given(cut=st.integers(0, 400), flips=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255))))
def test_any_damage_ends_in_a_dict_or_in_an_error_that_names_the_file(tmp_path, cut, flips):
    path = tmp_path / "cls_labels.npy"
    np.save(path, {"a": one_hot(8), "b": one_hot(12)})
    content = bytearray(path.read_bytes())
    for place, value in flips:
        content[place % len(content)] = value
    path.write_bytes(content[: len(content) - cut])
    assert_clean(lambda: load_dict(path), path)
