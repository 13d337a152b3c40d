"""Values of classes in masks are found by the labels, or asked about."""

import numpy as np
import pytest

from tests.field.drawn import photograph
from tests.pipeline.test_init import data_of
from wsss.data import write_mask
from wsss.data.mask_values import Seen, agree, values_by_labels
from wsss.pipeline.init import init

NAMES = ["bar", "blob", "cross"]


def seen(*pairs):
    return [Seen(frozenset(values), frozenset(labels)) for values, labels in pairs]


CLEAR = seen(
    ({7}, {"bar"}), ({2}, {"blob"}), ({2, 5}, {"blob", "cross"}), ({5}, {"cross"}), ((), ())
)


def test_found_where_one_goes_with_the_other():
    assert values_by_labels(NAMES, CLEAR) == {"bar": 7, "blob": 2, "cross": 5}
    assert agree({"bar": 7, "blob": 2, "cross": 5}, CLEAR)
    assert not agree({"bar": 1, "blob": 2, "cross": 3}, CLEAR)


def test_a_class_that_no_mask_shows_has_a_free_value():
    assert values_by_labels(["a", *NAMES], CLEAR) == {"a": 1, "bar": 7, "blob": 2, "cross": 5}


@pytest.mark.parametrize(
    "found",
    [
        seen(({3, 4}, {"bar", "blob"}), ({3, 4}, {"bar", "blob"})),  # never apart
        seen(({3}, {"bar"}), ({3}, {"blob"})),  # one value for two
        seen(({3}, ()), ({4}, {"bar"})),  # pixels without a label
        [],
    ],
    ids=["never apart", "one for two", "no label", "no mask"],
)
def test_not_where_labels_do_not_tell(found):
    assert values_by_labels(NAMES[:2], found) is None


@pytest.mark.parametrize(("values", "said"), [((3, 1), True), ((1, 2), False), ((9, 9), None)])
def test_by_init(tmp_path, values, said):
    rows = ["image,labels"]
    for i in range(10):
        photograph(tmp_path / f"d/JPEGImages/{i}.jpg", seed=i)
        mask = np.zeros((48, 64), np.uint8)
        mask[5:20, 5:20] = values[i % 2]
        write_mask(tmp_path / f"d/SegmentationClass/{i}.png", mask)
        rows.append(f"{i},{('rust', 'well')[i % 2]}")
    (tmp_path / "d/labels.csv").write_text("\n".join(rows))
    text = init(tmp_path / "d", tmp_path / "out")
    found = data_of(tmp_path / "out").classes
    if said is None:
        assert "the masks hold the values [9], which do not go with the labels" in text
        return
    assert found == {"rust": values[0], "well": values[1]}
    assert ("found by the labels: rust 3, well 1" in text) == said
