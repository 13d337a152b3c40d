"""threshold.json: read, refused by name, and carried from where it was chosen to the masks."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import SHAPES
from wsss.data import Scores, load_records, read_mask, write_scores
from wsss.errors import IncompleteError
from wsss.metrics import power_threshold
from wsss.pipeline.make_pseudo_masks import make_pseudo_masks
from wsss.refinement import BackgroundConfig
from wsss.runs.folder import manifest_of
from wsss.runs.threshold import ChosenThreshold, given, read_threshold, threshold_of_masks

OF_TRAIN = ChosenThreshold(0.6, "Otsu's threshold of the scores", "train", False, 12)
BY_CLASS = {"ring": 0.2, "star": 0.35, "cross": 0.5, "bar": 0.65, "blob": 0.8}


class TestFile:
    @pytest.mark.parametrize(
        "chosen",
        [
            OF_TRAIN,
            ChosenThreshold(BY_CLASS, "best mIoU of the sweep", "dev", True, 3),
            ChosenThreshold({"кольцо": 0.0, "星": 1.0}, "hand"),
            given(0.25),
        ],
    )
    def test_it_comes_back_from_the_file_and_from_its_folder(self, tmp_path, chosen):
        chosen.write(tmp_path / "threshold.json")
        assert read_threshold(tmp_path / "threshold.json") == chosen
        assert read_threshold(tmp_path) == chosen
        (tmp_path / "threshold.json").rename(tmp_path / "mine.json")
        assert read_threshold(tmp_path / "mine.json") == chosen

    def test_one_written_by_hand_needs_no_history(self, tmp_path):
        (tmp_path / "t.json").write_text('{"value": 1, "chosen_by": "eye"}')
        found = read_threshold(tmp_path / "t.json")
        assert found == ChosenThreshold(1.0, "eye", None, None, None)
        assert isinstance(found.value, float)

    def test_missing_it_says_what_writes_one(self, tmp_path):
        message = "no such file: {}; eval_miou on scores and choose_threshold write one"
        with pytest.raises(FileNotFoundError, match=message.format(tmp_path / "t.json")):
            read_threshold(tmp_path / "t.json")
        with pytest.raises(FileNotFoundError, match=message.format(tmp_path / "threshold.json")):
            read_threshold(tmp_path)

    @pytest.mark.parametrize(
        "content",
        [
            "",
            '{"value": 0.3, "chosen_by": ',
            "0.3",
            "[]",
            "null",
            "{}",
            '{"value": 0.3}',
            '{"chosen_by": "x"}',
            '{"value": 0.3, "chosen_by": 4}',
            '{"value": 0.3, "chosen_by": "x", "more": 1}',
            '{"value": "0.3", "chosen_by": "x"}',
            '{"value": null, "chosen_by": "x"}',
            '{"value": true, "chosen_by": "x"}',
            '{"value": [0.3], "chosen_by": "x"}',
            '{"value": 1.01, "chosen_by": "x"}',
            '{"value": -0.01, "chosen_by": "x"}',
            '{"value": NaN, "chosen_by": "x"}',
            '{"value": Infinity, "chosen_by": "x"}',
            '{"value": {"ring": 0.3, "star": 30}, "chosen_by": "x"}',
            '{"value": {"ring": {"star": 0.3}}, "chosen_by": "x"}',
            '{"value": {}, "chosen_by": "x"}',
            '{"value": 0.3, "chosen_by": "x", "masks_used": "no"}',
            '{"value": 0.3, "chosen_by": "x", "chosen_on": ["train"]}',
        ],
    )
    def test_what_is_none_is_refused_by_name(self, tmp_path, content):
        (tmp_path / "t.json").write_text(content)
        with pytest.raises(ValueError, match=rf"{tmp_path}/t\.json: not a threshold file: "):
            read_threshold(tmp_path / "t.json")

    def test_bytes_that_are_no_text_are_refused_by_name(self, tmp_path):
        (tmp_path / "t.json").write_bytes(bytes(range(128, 256)))
        with pytest.raises(ValueError, match=rf"{tmp_path}/t\.json: not a threshold file: "):
            read_threshold(tmp_path / "t.json")

    def test_every_class_of_the_data_set_needs_one(self, shapes, tmp_path):
        ChosenThreshold(BY_CLASS | {"more": 0.1}, "x").write(tmp_path / "all.json")
        assert read_threshold(tmp_path / "all.json", shapes).of(["bar", "ring"]) == [0.65, 0.2]
        fewer = {name: BY_CLASS[name] for name in ("ring", "star", "bar", "blob")}
        ChosenThreshold(fewer, "x").write(tmp_path / "t.json")
        with pytest.raises(ValueError, match=rf"{tmp_path}/t\.json: .*none for the class 'cross'"):
            read_threshold(tmp_path / "t.json", shapes)


def test_in_words():
    assert (
        OF_TRAIN.text()
        == "0.60 (Otsu's threshold of the scores on train, without masks, 12 images)"
    )
    used = ChosenThreshold({"a": 0.25, "b": 1.0}, "best mIoU of the sweep", "dev", True, 3)
    assert used.text() == "a 0.25, b 1.00 (best mIoU of the sweep on dev, with its masks, 3 images)"
    assert given(0.125).text() == "0.125 (given in the configuration; how is not recorded)"


class TestManifest:
    def test_stands_in_the_folder_or_above_it(self, tmp_path):
        (tmp_path / "run/masks").mkdir(parents=True)
        assert manifest_of(tmp_path / "run/masks") is None
        ours = {"complete": True, "identity": {}}
        above = {"command": "make_pseudo_masks", **ours}
        nearer = {"command": "predict", **ours}
        (tmp_path / "run/manifest.json").write_text(json.dumps(above))
        assert manifest_of(tmp_path / "run/masks") == above
        assert manifest_of(tmp_path / "run") == above
        (tmp_path / "run/masks/manifest.json").write_text(json.dumps(nearer))
        assert manifest_of(tmp_path / "run/masks") == nearer

    @pytest.mark.parametrize("content", ["[]", "3", "{}", '{"command": "theirs"}'])
    def test_of_another_program_it_says_nothing(self, tmp_path, content):
        (tmp_path / "manifest.json").write_text(content)
        assert manifest_of(tmp_path) is None

    def test_damaged_it_is_named(self, tmp_path):
        (tmp_path / "manifest.json").write_text("{")
        with pytest.raises(ValueError, match=rf"{tmp_path}/manifest\.json is damaged"):
            manifest_of(tmp_path)


class TestMasks:
    """make_pseudo_masks with a threshold that something else chose."""

    @pytest.fixture
    def scores(self, shapes, tmp_path) -> Path:
        rng = np.random.default_rng(2)
        for record in load_records(shapes, "val", with_labels=False):
            truth = read_mask(record.mask)
            classes = np.unique(truth)[1:]
            maps = rng.integers(0, 256, (len(classes), *truth[::4, ::4].shape)).astype(np.uint8)
            write_scores(
                tmp_path / "scores" / f"{record.image_id}.npz", Scores(classes, maps, truth.shape)
            )
        return tmp_path / "scores"

    @pytest.fixture
    def make(self, shapes, scores, tmp_path):
        def run(output: str = "made", **settings) -> dict[str, bytes]:
            settings = {
                "data": shapes,
                "split": "val",
                "scores_from": scores,
                "crf": None,
            } | settings
            masks = make_pseudo_masks(**settings, workers=1, output=tmp_path / output)
            return {path.name: path.read_bytes() for path in sorted(masks.iterdir())}

        return run

    def manifest(self, folder: Path) -> dict:
        return json.loads((folder / "manifest.json").read_text())

    @pytest.mark.parametrize("value", [0.6, BY_CLASS])
    def test_are_those_of_the_same_number_in_the_configuration(self, make, tmp_path, value):
        chosen = dataclasses.replace(OF_TRAIN, value=value)
        chosen.write(tmp_path / "threshold.json")
        direct = make("direct", background=BackgroundConfig(threshold=value))
        for name, path in (("file", tmp_path / "threshold.json"), ("folder", tmp_path)):
            assert make(name, threshold_from=path) == direct
            assert self.manifest(tmp_path / name)["threshold"] == dataclasses.asdict(chosen)
            assert self.manifest(tmp_path / name)["identity"] == {"threshold": value}
        assert direct != make("default")
        told = self.manifest(tmp_path / "direct")["threshold"]
        assert told == dataclasses.asdict(given(value))

    def test_of_another_threshold_are_not_mixed_with_them(self, make, tmp_path):
        path = tmp_path / "threshold.json"
        OF_TRAIN.write(path)
        make(threshold_from=path, limit=2)
        path.rename(tmp_path / "moved.json")
        make(threshold_from=tmp_path / "moved.json", limit=3)
        assert self.manifest(tmp_path / "made")["made_before"] == 2
        dataclasses.replace(OF_TRAIN, value=0.7).write(path)
        with pytest.raises(ValueError, match=r"another configuration.*threshold: 0\.6 -> 0\.7"):
            make(threshold_from=path)

    def test_a_power_background_is_told_as_the_constant_that_it_is(self, make, tmp_path):
        masks = make(background=BackgroundConfig(kind="power", gamma=3.0))
        told = self.manifest(tmp_path / "made")["threshold"]
        assert told["value"] == power_threshold(3.0)
        assert told["chosen_by"].startswith("the power background, gamma 3, comes to it")
        assert masks == make("constant", background=BackgroundConfig(threshold=told["value"]))

    def test_a_damaged_one_in_the_manifest_is_named(self, make, tmp_path):
        make()
        path = tmp_path / "made/manifest.json"
        assert threshold_of_masks(tmp_path / "made/masks") == given(0.3)
        path.write_text(json.dumps(self.manifest(tmp_path / "made") | {"threshold": {"value": 7}}))
        with pytest.raises(ValueError, match=r"manifest of .*made/masks is damaged: threshold: "):
            threshold_of_masks(tmp_path / "made/masks")

    @pytest.mark.parametrize(
        "background",
        [BackgroundConfig(kind="power"), BackgroundConfig(ignore_below=0.1, ignore_above=0.3)],
    )
    def test_a_background_that_has_no_place_for_it(self, make, tmp_path, background):
        OF_TRAIN.write(tmp_path / "threshold.json")
        with pytest.raises(ValueError, match="threshold_from: expected a constant background"):
            make(background=background, threshold_from=tmp_path)
        assert not (tmp_path / "made").exists()

    def test_a_class_without_a_threshold_is_refused_before_anything_is_made(self, make, tmp_path):
        fewer = {name: 0.3 for name in SHAPES if name != "blob"}
        with pytest.raises(ValueError, match="none for the class 'blob'"):
            make(background=BackgroundConfig(threshold=fewer))
        given(fewer).write(tmp_path / "t.json")
        with pytest.raises(ValueError, match=r"t\.json: .*none for the class 'blob'"):
            make(threshold_from=tmp_path / "t.json")
        with pytest.raises(FileNotFoundError, match=r"threshold: no such file: .*none"):
            make(threshold_from=tmp_path / "none")
        assert not (tmp_path / "made").exists()

    def test_failed_images_do_not_lose_it(self, make, scores, tmp_path):
        OF_TRAIN.write(tmp_path / "threshold.json")
        (scores / "val_0001.npz").unlink()
        with pytest.raises(IncompleteError, match="1 of 6 images failed: val_0001"):
            make(threshold_from=tmp_path)
        assert self.manifest(tmp_path / "made")["threshold"]["chosen_on"] == "train"
