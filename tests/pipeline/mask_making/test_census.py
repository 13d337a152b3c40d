"""Counts of the masks that are made: in the manifest, in trusted.txt, and over several runs."""

import dataclasses

import numpy as np
import pytest

from tests.pipeline.conftest import IDS, make, manifest, write_labels
from wsss.data import Scores, read_mask, read_scores, write_scores
from wsss.pipeline.mask_making.census import Census
from wsss.pipeline.predict import predict
from wsss.refinement import BackgroundConfig, TrustConfig

FACTS = ("kept", "pixels", "masks_without_class", "label_without_pixel")


def slow(shapes, masks, classes_of) -> dict:
    """The same counts from the files, one image after the other."""
    names = {"background": 0, **shapes.classes, "ignored": 255}
    pixels, silent, total, blank = dict.fromkeys(names, 0), {}, 0, 0
    for path in sorted(masks.iterdir()):
        mask = read_mask(path)
        total += mask.size
        blank += not np.isin(mask, list(shapes.classes.values())).any()
        for name, value in names.items():
            pixels[name] += int((mask == value).sum())
            if value in classes_of(path.stem) and not (mask == value).any():
                silent.setdefault(name, []).append(path.stem)
    kept = 1 - pixels["ignored"] / total
    return {
        "kept": pytest.approx(kept),
        "pixels": pixels,
        "masks_without_class": blank,
        "label_without_pixel": silent,
    }


@pytest.fixture(scope="module")
def stored(made, tmp_path_factory):
    """Scores of an earlier run, with a class more in the first image that is weak everywhere."""
    folder = tmp_path_factory.mktemp("stored") / "scores"
    for path in (made / "scores").iterdir():
        scores = read_scores(path)
        if path.stem == IDS[0]:
            scores = weaker(scores)
        write_scores(folder / path.name, scores)
    return folder


def weaker(scores: Scores) -> Scores:
    """With one class that the image did not have, at 10 % of the first one's scores."""
    value = next(v for v in range(1, 6) if v not in scores.classes)
    classes = np.append(scores.classes, np.uint8(value))
    maps = np.concatenate([scores.scores, (scores.scores[:1] * 0.1).astype(np.uint8)])
    order = np.argsort(classes)
    return Scores(classes[order], maps[order], scores.size)


class TestManifest:
    def test_pixels_of_each_label_and_classes_without_any(self, shapes, stored, tmp_path):
        trust = TrustConfig("share", share=0.7)
        masks = make(shapes, tmp_path / "run", scores_from=stored, trust=trust)
        classes = {i: read_scores(stored / f"{i}.npz").classes for i in IDS}
        facts = manifest(tmp_path / "run")
        assert {key: facts[key] for key in FACTS} == slow(shapes, masks, classes.__getitem__)
        silent = {i for ids in facts["label_without_pixel"].values() for i in ids}
        assert IDS[0] in silent
        assert 0.6 < facts["kept"] < 0.8
        trusted = (tmp_path / "run" / "trusted.txt").read_text().split()
        assert trusted == [i for i in IDS if i not in silent]

    def test_a_rerun_counts_what_was_made_before_too(self, shapes, stored, tmp_path):
        output = tmp_path / "run"
        masks = make(shapes, output, scores_from=stored)
        first = manifest(output)
        listed = (output / "trusted.txt").read_bytes()
        for number in (0, 5):
            (masks / f"{IDS[number]}.png").unlink()
            make(shapes, output, scores_from=stored)
            again = manifest(output)
            assert again["made_before"] == 11
            assert {key: again[key] for key in FACTS} == {key: first[key] for key in FACTS}
            assert (output / "trusted.txt").read_bytes() == listed

    def test_labels_of_the_data_set_say_what_is_missing_in_a_rerun(
        self, own_shapes, classifier_checkpoint, tmp_path
    ):
        """Nothing is above a threshold of 1: no class has a pixel, and a rerun knows it."""
        write_labels(own_shapes, {**dict.fromkeys(IDS, "ring star"), IDS[1]: ""})
        settings = {"limit": 3, "background": BackgroundConfig(threshold=1.0)}
        for before in (0, 3):
            make(own_shapes, tmp_path / "run", classifier_checkpoint, **settings)
            facts = manifest(tmp_path / "run")
            assert facts["made_before"] == before
            assert facts["masks_without_class"] == 3
            assert facts["label_without_pixel"] == {n: [IDS[0], IDS[2]] for n in ("ring", "star")}
            assert (tmp_path / "run" / "trusted.txt").read_text() == f"{IDS[1]}\n"

    def test_a_rescued_class_has_pixels(self, shapes, stored, tmp_path):
        trust = TrustConfig(silent="rescue")
        masks = make(shapes, tmp_path / "run", scores_from=stored, trust=trust)
        assert manifest(tmp_path / "run")["label_without_pixel"] == {}
        found = set(np.unique(read_mask(masks / f"{IDS[0]}.png")))
        assert set(read_scores(stored / f"{IDS[0]}.npz").classes) <= found

    def test_two_rules_for_255_are_refused_before_anything_is_made(self, shapes, stored, tmp_path):
        with pytest.raises(ValueError, match=r"trust\.rule: expected all"):
            make(
                shapes, tmp_path / "run", scores_from=stored, trust=TrustConfig("share"),
                background=BackgroundConfig(ignore_below=0.2, ignore_above=0.4),
            )  # fmt: skip
        assert not (tmp_path / "run").exists()


def test_no_mask_at_all():
    assert Census().facts({"cat": 8}) == {
        "kept": None,
        "pixels": {"background": 0, "cat": 0, "ignored": 0},
        "masks_without_class": 0,
        "label_without_pixel": {},
    }


class TestPredict:
    def test_unsure_pixels_become_255(self, shapes, segmenter_checkpoint, tmp_path):
        settings = {"data": shapes, "split": "val", "device": "cpu"}
        plain = predict(segmenter_checkpoint, tmp_path / "plain", **settings)
        trust = TrustConfig("share", share=0.5)
        trusted = predict(segmenter_checkpoint, tmp_path / "trusted", trust=trust, **settings)
        for path in plain.iterdir():
            mask, before = read_mask(trusted / path.name), read_mask(path)
            assert 0.4 < (mask == 255).mean() < 0.6
            assert np.array_equal(mask[mask != 255], before[mask != 255])

    def test_rescue_needs_labels(self, segmenter_checkpoint, tmp_path):
        trust = dataclasses.replace(TrustConfig(), silent="rescue")
        with pytest.raises(ValueError, match=r"trust\.silent: rescue needs the labels"):
            predict(segmenter_checkpoint, tmp_path / "p", images=tmp_path, trust=trust)
