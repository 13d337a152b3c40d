"""What a second run of make_pseudo_masks skips and refuses, and what a failed one leaves."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.pipeline.conftest import IDS, contents, make, manifest
from wsss.data import read_scores
from wsss.errors import IncompleteError
from wsss.pipeline.eval_miou import eval_miou
from wsss.pipeline.mask_making.scoring import to_scores
from wsss.refinement import BackgroundConfig, CRFConfig


class TestReruns:
    def test_what_is_done_is_skipped(self, shapes, classifier_checkpoint, made, monkeypatch):
        before = {p: p.stat().st_mtime_ns for p in made.rglob("*.[pn][np][gz]")}
        assert len(before) == 36
        monkeypatch.setattr(
            "wsss.pipeline.mask_making.explaining.attribute_at_sizes",
            lambda *_, **__: pytest.fail("an image that is done was explained again"),
        )
        make(shapes, made, classifier_checkpoint, save_scores=True, overlays=True)
        assert {p: p.stat().st_mtime_ns for p in made.rglob("*.[pn][np][gz]")} == before
        facts = manifest(made)
        assert (facts["made_before"], facts["made_now"]) == (12, 0)
        assert facts["complete"] is True

    def test_an_interrupted_run_goes_on(
        self, shapes, classifier_checkpoint, made, tmp_path, monkeypatch
    ):
        output = tmp_path / "run"
        calls = []

        def interrupted(*arguments):
            calls.append(1)
            if len(calls) == 5:
                raise KeyboardInterrupt
            return to_scores(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr("wsss.pipeline.mask_making.scoring.to_scores", interrupted)
            with pytest.raises(KeyboardInterrupt):
                make(shapes, output, classifier_checkpoint)
        assert manifest(output)["complete"] is False
        early = {p.name: p.stat().st_mtime_ns for p in (output / "masks").glob("*.png")}
        assert 1 <= len(early) <= 4
        make(shapes, output, classifier_checkpoint)
        assert contents(output / "masks") == contents(made / "masks")
        late = {p.name: p.stat().st_mtime_ns for p in (output / "masks").glob("*.png")}
        assert {name: late[name] for name in early} == early
        facts = manifest(output)
        assert (facts["made_before"], facts["made_now"]) == (len(early), 12 - len(early))
        assert facts["complete"] is True

    def test_a_missing_score_file_is_made_again_with_its_mask(
        self, shapes, classifier_checkpoint, made, tmp_path
    ):
        output = tmp_path / "run"
        make(shapes, output, classifier_checkpoint, limit=2)
        make(shapes, output, classifier_checkpoint, limit=2, save_scores=True)
        for name in IDS[:2]:
            for kind in (f"masks/{name}.png", f"scores/{name}.npz"):
                assert (output / kind).is_file()
            ours, theirs = (read_scores(d / f"scores/{name}.npz") for d in (output, made))
            assert np.array_equal(ours.scores, theirs.scores)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                {"background": BackgroundConfig(threshold=0.5)},
                r"background\.threshold: 0\.3 -> 0\.5",
            ),
            ({"split": "val"}, "split: train -> val"),
            ({"method": "cam"}, "method: tif -> cam"),
            ({"crf": CRFConfig()}, "crf: None -> "),
            ({"label_mode": "predicted"}, "label_mode: given -> predicted"),
        ],
    )
    def test_another_configuration_is_refused_by_key_and_value(
        self, shapes, classifier_checkpoint, made, change, message
    ):
        before = (made / "manifest.json").read_bytes(), (made / "config.yaml").read_bytes()
        with pytest.raises(ValueError, match=f"another configuration.*{message}"):
            make(shapes, made, classifier_checkpoint, **change)
        assert before == (
            (made / "manifest.json").read_bytes(),
            (made / "config.yaml").read_bytes(),
        )

    def test_another_checkpoint_is_refused(self, shapes, classifier_checkpoint, made, tmp_path):
        loaded = torch.load(classifier_checkpoint, weights_only=True)
        loaded["state_dict"]["model.head.weight"] += 1
        torch.save(loaded, tmp_path / "other.ckpt")
        old, new = (
            hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (classifier_checkpoint, tmp_path / "other.ckpt")
        )
        with pytest.raises(ValueError, match=f"checkpoint_sha256: {old} -> {new}"):
            make(shapes, made, tmp_path / "other.ckpt")

    def test_what_does_not_change_the_masks_may_differ(
        self, shapes, classifier_checkpoint, made, tmp_path
    ):
        moved = tmp_path / "moved.ckpt"
        shutil.copy(classifier_checkpoint, moved)
        make(shapes, made, moved, workers=2, limit=5, device="auto", save_scores=False)
        assert manifest(made)["made_before"] == 5
        make(shapes, made, classifier_checkpoint, save_scores=True, overlays=True)

    def test_the_folder_of_another_command_is_refused(self, shapes, made):
        with pytest.raises(ValueError, match="command: make_pseudo_masks -> eval_miou"):
            eval_miou(data=shapes, split="train", output=made, predictions=made / "masks")


class TestFailures:
    def test_a_truncated_image_is_named_and_the_others_are_made(
        self, own_shapes, classifier_checkpoint, made, tmp_path
    ):
        broken = own_shapes.root / "JPEGImages" / f"{IDS[3]}.jpg"
        broken.write_bytes(broken.read_bytes()[:400])
        output = tmp_path / "run"
        with pytest.raises(
            IncompleteError, match=rf"1 of 12 images failed: {IDS[3]}: .*{IDS[3]}\.jpg"
        ):
            make(own_shapes, output, classifier_checkpoint)
        masks = contents(output / "masks")
        assert sorted(masks) == [f"{name}.png" for name in IDS if name != IDS[3]]
        assert all(content == (made / "masks" / n).read_bytes() for n, content in masks.items())
        facts = manifest(output)
        assert facts["complete"] is False
        assert list(facts["failed"]) == [IDS[3]]
        assert f"{IDS[3]}.jpg" in facts["failed"][IDS[3]]
        assert (facts["images"], facts["made_now"], facts["made_before"]) == (12, 11, 0)

        shutil.copy(broken.with_name(f"{IDS[4]}.jpg"), broken)
        make(own_shapes, output, classifier_checkpoint)
        facts = manifest(output)
        assert facts["complete"] is True
        assert (facts["failed"], facts["made_now"], facts["made_before"]) == ({}, 1, 11)

    def test_a_missing_image_is_named(self, own_shapes, classifier_checkpoint, tmp_path):
        (own_shapes.root / "JPEGImages" / f"{IDS[0]}.jpg").unlink()
        with pytest.raises(IncompleteError, match=rf"1 of 2 .*image not found: .*{IDS[0]}\.jpg"):
            make(own_shapes, tmp_path / "run", classifier_checkpoint, limit=2)

    def test_a_folder_that_cannot_be_written_is_named(
        self, shapes, classifier_checkpoint, tmp_path
    ):
        (tmp_path / "file").write_text("not a folder")
        with pytest.raises(PermissionError, match=f"output: cannot write into {tmp_path}/file/in"):
            make(shapes, tmp_path / "file" / "inside", classifier_checkpoint)
        with pytest.raises(NotADirectoryError, match="is a file, expected a folder"):
            make(shapes, tmp_path / "file", classifier_checkpoint)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"checkpoint": None}, "give either checkpoint or scores_from"),
            ({"scores_from": Path("x")}, "give either checkpoint or scores_from"),
            ({"predicted_threshold": 1.5}, r"predicted_threshold: expected 0\.\.1, got 1\.5"),
            ({"limit": 0}, "limit: expected at least 1 image"),
            (
                {"checkpoint": None, "scores_from": Path("x"), "label_mode": "predicted"},
                "label_mode: scores_from brings its own classes",
            ),
        ],
    )
    def test_settings_that_contradict_are_refused_before_anything_is_written(
        self, shapes, classifier_checkpoint, tmp_path, change, message
    ):
        with pytest.raises(ValueError, match=message):
            make(shapes, tmp_path / "run", **{"checkpoint": classifier_checkpoint, **change})
        assert not (tmp_path / "run").exists()

    def test_an_unknown_list_names_the_others(self, shapes, classifier_checkpoint, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"trian\.txt; .*: train, val"):
            make(shapes, tmp_path / "run", classifier_checkpoint, split="trian")
