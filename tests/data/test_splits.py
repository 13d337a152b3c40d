"""Names that people give to splits, and files that belong together by them."""

import pytest

from wsss.data.splits import choose_files, is_split, split_in, templated, train_and_val


class TestNames:
    @pytest.mark.parametrize(
        ("name", "split"),
        [
            ("train.json", "train"), ("instances_train2017.json", "train2017"),
            ("Train/x.json", "Train"), ("a/val-1.csv", "val"), ("trained.json", None),
            ("latest.csv", None), ("x/y.json", None), ("train/val.json", "val"),
            ("train_aug.txt", "train_aug"), ("my.testing.csv", "testing"),
        ],
    )  # fmt: skip
    def test_the_split_in_a_file_s_name(self, name, split):
        assert split_in(name) == split

    def test_templates(self):
        assert templated("train/x_train.json", "train") == "{split}/x_{split}.json"
        assert templated("train/training.json", "train") == "{split}/training.json"

    def test_which_are_splits(self):
        assert all(map(is_split, ["train", "Val2017", "TESTING", "trainval", "dev"]))
        assert not any(map(is_split, ["trains", "2017", "cat", ""]))

    def test_what_trains_and_validates(self):
        assert train_and_val(["val", "Train", "train_aug"]) == ("train_aug", "val")
        assert train_and_val(["test", "Valid", "x"]) == (None, "Valid")

    def test_a_single_file_that_trains_comes_first(self):
        assert choose_files(["a_test.csv", "b_train.csv"]).template == "b_train.csv"
        assert choose_files(["all.csv", "b_train.csv"]).others == ["b_train.csv"]
