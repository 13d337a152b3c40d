"""Masks from stored scores: those of the direct run, and score files that are missing or wrong."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from tests.pipeline.conftest import IDS, contents, make, manifest
from wsss.data import Scores, write_scores
from wsss.errors import IncompleteError
from wsss.refinement import BackgroundConfig, CRFConfig


class TestFromScores:
    @pytest.mark.parametrize("background", [{}, {"kind": "power"}, {"threshold": 0.6}])
    def test_masks_are_byte_identical_to_those_of_the_direct_run(
        self, shapes, classifier_checkpoint, made, tmp_path, background, monkeypatch
    ):
        config = BackgroundConfig(**background)
        limit = 12 if not background else 3
        direct = made / "masks"
        if background:
            direct = make(
                shapes, tmp_path / "direct", classifier_checkpoint, background=config, limit=limit
            )
        monkeypatch.setattr(
            "wsss.pipeline.make_pseudo_masks.load_classifier",
            lambda *_: pytest.fail("the network is not needed"),
        )
        again = make(shapes, tmp_path / "again", scores_from=made, background=config, limit=limit)
        assert contents(again) == contents(direct)
        assert len(contents(again)) == limit

    def test_with_a_crf_too(self, shapes, classifier_checkpoint, made, tmp_path):
        pytest.importorskip("pydensecrf", reason="pydensecrf2 does not build on Python 3.13")
        settings = {"crf": CRFConfig(iterations=2), "limit": 2}
        direct = make(shapes, tmp_path / "direct", classifier_checkpoint, **settings)
        again = make(shapes, tmp_path / "again", scores_from=made, **settings)
        assert contents(again) == contents(direct)

    def test_labels_are_not_read_and_the_manifest_says_where_the_classes_come_from(
        self, own_shapes, made, tmp_path
    ):
        (own_shapes.root / "labels.csv").unlink()
        make(own_shapes, tmp_path / "run", scores_from=made)
        assert str(made) in manifest(tmp_path / "run")["label_mode"]

    def test_scores_made_otherwise_in_the_same_place_are_other_scores(
        self, own_shapes, made, tmp_path
    ):
        """Masks of a folder are all of one origin, though its path stays what it was."""
        stored = tmp_path / "stored"
        shutil.copytree(made, stored)
        make(own_shapes, tmp_path / "run", scores_from=stored, limit=2)
        facts = manifest(stored)
        facts["config"] |= {"limit": 7, "crf": None}  # which change no image's scores
        facts["config"]["background"]["threshold"] = 0.9
        (stored / "manifest.json").write_text(json.dumps(facts))
        make(own_shapes, tmp_path / "run", scores_from=stored)
        facts["config"]["tif"]["alpha"] = 0.3
        (stored / "manifest.json").write_text(json.dumps(facts))
        with pytest.raises(ValueError, match=r"scores_sha256"):
            make(own_shapes, tmp_path / "run", scores_from=stored)

    def test_missing_and_damaged_score_files_are_named(self, shapes, made, tmp_path):
        shutil.copytree(made / "scores", tmp_path / "scores")
        (tmp_path / "scores" / f"{IDS[1]}.npz").unlink()
        damaged = tmp_path / "scores" / f"{IDS[2]}.npz"
        damaged.write_bytes(damaged.read_bytes()[:100])
        with pytest.raises(IncompleteError, match=f"2 of 12 images failed: {IDS[1]}.*{IDS[2]}"):
            make(shapes, tmp_path / "run", scores_from=tmp_path / "scores")
        assert len(contents(tmp_path / "run" / "masks")) == 10
        assert sorted(manifest(tmp_path / "run")["failed"]) == IDS[1:3]

    def test_scores_of_an_image_of_another_size_are_named(self, shapes, made, tmp_path):
        shutil.copytree(made / "scores", tmp_path / "scores")
        wrong = Scores(np.array([1], np.uint8), np.full((1, 10, 10), 255, np.uint8), (40, 40))
        write_scores(tmp_path / "scores" / f"{IDS[0]}.npz", wrong)
        with pytest.raises(IncompleteError, match=f"1 of 2 images failed: {IDS[0]}: .*40 x 40"):
            make(shapes, tmp_path / "run", scores_from=tmp_path / "scores", limit=2)
        assert not (tmp_path / "run" / "masks" / f"{IDS[0]}.png").exists()

    def test_scores_of_classes_that_the_data_set_does_not_have_are_refused(
        self, shapes, made, tmp_path
    ):
        fewer = dataclasses.replace(shapes, classes={"ring": 1})
        with pytest.raises((ValueError, IncompleteError), match=r"belongs to no class"):
            make(fewer, tmp_path / "run", scores_from=made)
