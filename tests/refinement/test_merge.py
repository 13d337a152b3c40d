"""Files of masks from elsewhere: what is read, what is refused by name, and the commands."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.conftest import SHARED
from tests.pipeline.conftest import IDS, make, manifest
from wsss.cli import command
from wsss.data import read_image, read_mask, write_mask, write_scores
from wsss.data.scores import Scores, stored_size
from wsss.errors import IncompleteError
from wsss.refinement import BackgroundConfig, LabelMaps, Picture, RefinementChain, make_masks
from wsss.refinement.merge import MergeConfig, prepare_merge
from wsss.refinement.merging.files import read_classes, read_saliency, read_segments

PICTURE = Picture(np.zeros((2, 3, 3), np.uint8), ["cat"], "sub/a", {"cat": 8})
MAPS = LabelMaps(np.full((2, 2, 3), 0.6, np.float32), marginals=False)


def save(path, values, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values)).save(path, **more)


class TestFiles:
    def test_saliency_of_one_eight_and_sixteen_bits(self, tmp_path):
        file = tmp_path / "sub/a.png"
        save(file, np.array([[0, 51, 255], [0, 0, 102]], np.uint8))
        np.testing.assert_allclose(read_saliency(tmp_path, PICTURE), [[0, 0.2, 1], [0, 0, 0.4]])
        save(file, np.array([[0, 13107, 65535], [0, 0, 26214]], np.uint16))
        np.testing.assert_allclose(read_saliency(tmp_path, PICTURE), [[0, 0.2, 1], [0, 0, 0.4]])
        save(file, np.array([[False, True, True], [False] * 3]))
        assert read_saliency(tmp_path, PICTURE).tolist() == [[0, 1, 1], [0, 0, 0]]

    def test_classes_indexed_and_grey(self, tmp_path):
        values = np.array([[0, 8, 255], [0, 8, 8]], np.uint8)
        write_mask(tmp_path / "sub/a.png", values)
        assert np.array_equal(read_classes(tmp_path, PICTURE), values)
        save(tmp_path / "sub/a.png", values)
        assert np.array_equal(read_classes(tmp_path, PICTURE), values)

    def test_segments_of_a_file_of_numbers(self, tmp_path):
        for values in ([[0, 7, 7], [900, 0, 7]], [[0, 7, 7], [200, 0, 7]]):
            depth = np.uint16 if np.max(values) > 255 else np.uint8
            save(tmp_path / "sub/a.png", np.array(values, depth))
            found = read_segments(tmp_path, PICTURE)
            assert [part.tolist() for part in found] == [[1, 2, 5], [3]]

    def test_segments_of_a_folder_may_overlap(self, tmp_path):
        folder = tmp_path / "sub/a"
        save(folder / "0.png", np.array([[0, 255, 255], [0, 0, 0]], np.uint8))
        save(folder / "1.png", np.array([[False, True, False], [True] * 3]))
        save(folder / "2.png", np.zeros((2, 3), np.uint8))
        (folder / "metadata.csv").write_text("id,area\n")
        found = read_segments(tmp_path, PICTURE)
        assert [part.tolist() for part in found] == [[1, 2], [1, 3, 4, 5]]


class TestRefused:
    @pytest.mark.parametrize("content", ["saliency", "classes", "segments"])
    def test_size_colour_and_damage_by_the_file_s_name(self, tmp_path, content):
        config = MergeConfig(tmp_path, content)
        file = tmp_path / "sub/a.png"
        save(file, np.zeros((3, 2), np.uint8))
        message = rf"{file} has 2 x 3 pixels, but the photograph sub/a has 3 x 2"
        with pytest.raises(ValueError, match=message):
            prepare_merge([PICTURE], config, None)
        save(file, np.zeros((2, 3, 3), np.uint8))
        with pytest.raises(ValueError, match=rf"{file}: expected a PNG of mode .*, got RGB"):
            prepare_merge([PICTURE], config, None)
        file.write_bytes(file.read_bytes()[:40])
        with pytest.raises(ValueError, match=rf"cannot decode mask {file}"):
            prepare_merge([PICTURE], config, None)

    @pytest.mark.parametrize("content", ["saliency", "classes", "segments"])
    def test_a_missing_file_unless_its_image_is_to_keep_its_maps(self, tmp_path, content):
        message = rf"no mask {tmp_path}/sub/a\.png for the photograph sub/a"
        with pytest.raises(FileNotFoundError, match=message):
            prepare_merge([PICTURE], MergeConfig(tmp_path, content), None)
        nameless = PICTURE._replace(image_id=None)
        with pytest.raises(ValueError, match="expected photographs with ids"):
            prepare_merge([nameless], MergeConfig(tmp_path, content), None)
        keep = MergeConfig(tmp_path, content, missing="keep")
        refine = prepare_merge([PICTURE, nameless], keep, None)
        assert [one is MAPS for one in refine([MAPS, MAPS])] == [True, True]

    @pytest.mark.parametrize(
        ("key", "value", "message"),
        [
            ("content", "sam", "expected saliency or classes or segments, got 'sam'"),
            ("missing", "skip", "expected error or keep, got 'skip'"),
            ("vote", "both", "expected replace or mean, got 'both'"),
            ("agreement", 1.2, r"expected 0\.\.1, got 1.2"),
            ("covered", -1, r"expected 0\.\.1, got -1"),
            ("inside", 0.4, r"expected 0\.5\.\.1, below 1, got 0.4"),
            ("values", {"cat": 255}, r"expected 1\.\.254, got 255"),
        ],
    )
    def test_options(self, tmp_path, key, value, message):
        with pytest.raises(ValueError, match=rf"merge\.{key}.*: {message}"):
            dataclasses.replace(MergeConfig(tmp_path, "classes"), **{key: value})


class TestCommands:
    @pytest.fixture(scope="class")
    def stored(self, shapes, tmp_path_factory):
        """Scores of the true classes, 1 near the image's middle."""
        folder = tmp_path_factory.mktemp("middle") / "scores"
        for name in IDS:
            truth = read_mask(shapes.root / shapes.masks / f"{name}.png")
            classes = np.setdiff1d(truth, [0, 255]).astype(np.uint8)
            maps = np.full((len(classes), *stored_size(truth.shape)), 51, np.uint8)
            maps[:, 6:12, 6:12] = 255
            write_scores(folder / f"{name}.npz", Scores(classes, maps, truth.shape))
        return folder

    def test_masks_of_classes_replace_the_maps(self, shapes, stored, tmp_path):
        """The ground truth from elsewhere comes back, of the classes of each image."""
        step = MergeConfig(shapes.root / shapes.masks, "classes")
        chain = RefinementChain((step,))
        masks = make(shapes, tmp_path / "run", scores_from=stored, refine=chain)
        for path in masks.iterdir():
            assert np.array_equal(
                read_mask(path), read_mask(shapes.root / shapes.masks / path.name)
            )

    def test_by_the_command_line_and_again_from_its_own_configuration(
        self, shapes, stored, tmp_path
    ):
        step = {"kind": "merge", "folder": str(shapes.root / shapes.masks), "content": "classes"}
        words = [
            "--data.root", str(shapes.root), "--data.classes", json.dumps(shapes.classes),
            "--split", "train", "--scores_from", str(stored), "--limit", "2", "--workers", "1",
            "--refine", json.dumps([step]), "--output", str(tmp_path / "run"),
        ]  # fmt: skip
        assert command("make_pseudo_masks", words) == 0
        facts = manifest(tmp_path / "run")["config"]["refine"][0]
        assert facts["folder"] == step["folder"]
        again = ["--config", str(tmp_path / "run/config.yaml")]
        assert command("make_pseudo_masks", again) == 0
        assert manifest(tmp_path / "run")["made_before"] == 2

    def test_an_image_without_its_mask_fails_alone(self, shapes, stored, tmp_path):
        folder = tmp_path / "elsewhere"
        shutil.copytree(shapes.root / shapes.masks, folder)
        (folder / f"{IDS[1]}.png").unlink()
        chain = RefinementChain((MergeConfig(folder, "classes"),))
        with pytest.raises(IncompleteError, match=rf"1 of 3 .*no mask {folder}/{IDS[1]}\.png"):
            make(shapes, tmp_path / "run", scores_from=stored, refine=chain, limit=3)
        assert len(list((tmp_path / "run/masks").iterdir())) == 2


@pytest.mark.shared
def test_saliency_of_photographs_brings_the_classes_maps_closer_to_the_truth():
    """Four photographs of VOC; the maps: blurred boxes of the true objects."""
    root, saliency = SHARED / "data/voc-animals", SHARED / "data/voc-animals-saliency"
    if not saliency.is_dir():
        pytest.skip(f"needs {saliency}, which is not there")
    chain = RefinementChain((MergeConfig(saliency, "saliency"),))
    hits = {"before": 0, "after": 0}
    for name in ("2007_000392", "2007_000504", "2007_000528", "2007_000549"):
        image = read_image(root / f"JPEGImages/{name}.jpg")
        truth = read_mask(root / f"SegmentationClass/{name}.png")
        scores = np.stack([box_of(truth == v) for v in np.setdiff1d(truth, [0, 255])])
        picture, background = [Picture(image, image_id=name)], BackgroundConfig()
        scored = truth != 255
        labels = np.searchsorted(np.setdiff1d(truth, [0, 255]), truth) + (truth > 0)
        for key, steps in (("before", RefinementChain()), ("after", chain)):
            (mask,) = make_masks(picture, [scores], background, steps)
            hits[key] += int((mask == labels)[scored].sum())
    assert hits["after"] > 1.05 * hits["before"]


def box_of(inside):
    """Score of a class that only knows the box of its object: 1 in its middle, 0.4 at its edge."""
    rows, columns = np.nonzero(inside.any(axis=1))[0], np.nonzero(inside.any(axis=0))[0]
    score = np.zeros(inside.shape, np.float32)
    y, x = np.mgrid[: inside.shape[0], : inside.shape[1]]
    near = np.maximum(
        np.abs(y - (rows[0] + rows[-1]) / 2) / max(1, rows[-1] - rows[0]),
        np.abs(x - (columns[0] + columns[-1]) / 2) / max(1, columns[-1] - columns[0]),
    )
    score[near <= 0.5] = (1 - 1.2 * near)[near <= 0.5]
    return score
