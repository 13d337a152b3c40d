"""A new refinement step is a file and one line of a table; every command that refines takes it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import pytest

from tests.conftest import CPU, SMALL
from tests.pipeline.conftest import ONE_SIZE
from wsss.cli import command
from wsss.data import read_image, read_mask
from wsss.data.transforms import normalise
from wsss.models.segmenter import SegmenterConfig
from wsss.normalisation import IMAGENET
from wsss.pipeline.choose_threshold import choose_threshold
from wsss.pipeline.make_pseudo_masks import make_pseudo_masks
from wsss.pipeline.predict import InferenceConfig, predict, segment
from wsss.pipeline.refining import refinement_of
from wsss.pipeline.settings import parse_settings
from wsss.pipeline.train_seg import train_seg
from wsss.refinement import (
    NO_REFINEMENT,
    STEPS,
    BackgroundConfig,
    Context,
    CRFConfig,
    LabelMaps,
    Picture,
    RefinementChain,
    Step,
    dense_crf,
    make_mask,
    make_masks,
)
from wsss.runs.settings import plain
from wsss.tasks.checkpoint import load_segmenter


@dataclass(frozen=True)
class BlurConfig:
    """Options of the toy.

    Args:
        side: Side of the box in pixels.
        shape: What is averaged over.
    """

    side: int = 5
    shape: Literal["box"] = "box"

    def __post_init__(self) -> None:
        if self.side < 1:
            raise ValueError(f"side: expected at least 1, got {self.side}")


def prepare_blur(pictures: Sequence[Picture], config: BlurConfig, context: Context):
    """A toy: each label's map is blurred; nothing of the image is needed but its size."""
    sizes = [one.image.shape[:2] for one in pictures]

    def refine(maps: Sequence[LabelMaps]) -> list[LabelMaps]:
        assert [one.values.shape[1:] for one in maps] == sizes
        side = (config.side, config.side)
        return [
            LabelMaps(np.stack([cv2.blur(label, side) for label in one.values]), one.marginals)
            for one in maps
        ]

    return refine


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setitem(STEPS, "blur", Step(BlurConfig, prepare_blur))


CHAIN = [{"kind": "blur", "side": 3}, {"kind": "crf", "iterations": 2, "backend": "torch"}]
SETTINGS = {"data": {"root": "x"}, "split": "s", "output": "o"}


def chain(steps=CHAIN) -> RefinementChain:
    return parse_settings("make_pseudo_masks", {**SETTINGS, "refine": steps})["refine"]


class TestChain:
    def test_steps_follow_each_other(self):
        """The same as the toy and the dense CRF by hand, energies from the blurred scores."""
        rng = np.random.default_rng(0)
        image = rng.integers(0, 256, (24, 30, 3), dtype=np.uint8)
        scores = rng.random((2, 24, 30), dtype=np.float32)
        crf = CRFConfig(iterations=2, backend="torch")
        found = make_mask(image, scores, BackgroundConfig(threshold=0.4), chain())
        with_background = np.concatenate([np.full((1, 24, 30), 0.4, np.float32), scores])
        blurred = np.stack([cv2.blur(label, (3, 3)) for label in with_background])
        shares = np.exp(8 * blurred) / np.exp(8 * blurred).sum(axis=0)
        expected = dense_crf(image, -np.log(shares), crf).argmax(axis=0)
        assert np.array_equal(found, expected)

    def test_after_a_step_that_gives_marginals_the_crf_takes_their_logarithm(self):
        rng = np.random.default_rng(1)
        image = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
        scores = rng.random((1, 20, 20), dtype=np.float32)
        crf = CRFConfig(iterations=1, backend="torch")
        refine = RefinementChain((crf, crf)).prepare([Picture(image)])
        maps = LabelMaps(np.concatenate([1 - scores, scores]), marginals=False)
        (twice,) = refine([maps])
        (once,) = RefinementChain((crf,)).prepare([Picture(image)])([maps])
        assert once.marginals
        np.testing.assert_allclose(once.values.sum(axis=0), 1, atol=1e-5)
        expected = dense_crf(image, -np.log(np.maximum(once.values, 1e-8)), crf)
        np.testing.assert_allclose(twice.values, expected, atol=1e-6)

    def test_labels_that_are_nowhere_likely_stay_out_unless_all_are(self):
        """Thirty labels of a network that knows nothing: none reaches .05, and all take part."""
        rng = np.random.default_rng(3)
        image = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        refine = RefinementChain((CRFConfig(iterations=1, backend="torch"),)).prepare(
            [Picture(image)]
        )
        (found,) = refine([LabelMaps(np.full((30, 12, 12), 1 / 30, np.float32), marginals=True)])
        np.testing.assert_allclose(found.values, 1 / 30, rtol=1e-4)
        sure = np.concatenate([np.full((1, 12, 12), 0.96), np.full((4, 12, 12), 0.01)])
        (found,) = refine([LabelMaps(sure.astype(np.float32), marginals=True)])
        assert found.values[0].min() == 1
        assert not found.values[1:].any()

    def test_images_together_are_images_one_by_one(self):
        """Also one of them without any class, and with pixels that are ignored."""
        rng = np.random.default_rng(2)
        images = [rng.integers(0, 256, (18 + i, 20, 3), dtype=np.uint8) for i in range(3)]
        scores = [rng.random((p, *i.shape[:2]), np.float32) for p, i in zip((2, 0, 1), images)]
        for background in (
            BackgroundConfig(),
            BackgroundConfig(ignore_below=0.3, ignore_above=0.7),
        ):
            pictures = [Picture(image) for image in images]
            together = make_masks(pictures, scores, background, chain())
            for mask, image, maps in zip(together, images, scores, strict=True):
                assert np.array_equal(mask, make_mask(image, maps, background, chain()))
        assert not together[1].any()
        assert 255 in together[0]

    def test_it_is_written_as_it_is_read(self):
        built = chain()
        assert built.steps == (BlurConfig(3), CRFConfig(iterations=2, backend="torch"))
        assert chain(plain(built)) == built
        assert plain(built)[0] == {"kind": "blur", "side": 3, "shape": "box"}


class TestErrors:
    @pytest.mark.parametrize(
        ("steps", "message"),
        [
            ([{"kind": "blurr"}], r"refine, step 1: expected kind: crf or .*blur, got .*blurr"),
            ([{"kind": "crf"}, {"side": 3}], r"refine, step 2: expected kind"),
            ([{"kind": "blur", "sides": 3}], r"(?s)refine, step 1, blur: .*sides"),
            ([{"kind": "blur", "side": "wide"}], r"(?s)refine, step 1, blur: .*wide"),
            ([{"kind": "blur", "side": 0}], r"(?s)refine, step 1, blur: .*side: expected at least"),
            ({"kind": "blur"}, r"refine: expected a list of steps"),
            ("crf", r"refine: expected a list of steps"),
            ([7], r"refine, step 1: expected kind"),
        ],
    )
    def test_the_step_and_its_key_are_named(self, steps, message):
        with pytest.raises(ValueError, match=message):
            chain(steps)

    def test_options_in_place_of_a_chain_and_scores_of_another_size(self):
        image, scores = np.zeros((4, 5, 3), np.uint8), np.zeros((1, 4, 5), np.float32)
        with pytest.raises(ValueError, match=r"expected a RefinementChain, .* got CRFConfig"):
            make_mask(image, scores, BackgroundConfig(), CRFConfig())
        with pytest.raises(ValueError, match=r"scores: expected \(P, 4, 5\).* got \(1, 2, 5\)"):
            make_mask(image, scores[:, :2], BackgroundConfig())

    def test_options_that_are_no_step_s(self):
        with pytest.raises(ValueError, match=r"refine: expected the options of one of crf, .*blur"):
            RefinementChain((BackgroundConfig(),))

    def test_crf_is_short_for_one_step(self):
        crf = CRFConfig(iterations=3)
        assert refinement_of(None, crf, CRFConfig()) == RefinementChain((crf,))
        assert refinement_of(None, None, CRFConfig()) == NO_REFINEMENT
        for given in (None, CRFConfig()):  # not given at all, or null
            assert refinement_of(chain(), given, CRFConfig()) == chain()
        with pytest.raises(ValueError, match="crf: short for refine"):
            refinement_of(chain(), crf, CRFConfig())


class TestCommands:
    @pytest.fixture(scope="class")
    def made(self, shapes, classifier_checkpoint, tmp_path_factory):
        output = tmp_path_factory.mktemp("refined") / "scores"
        make_pseudo_masks(
            shapes, "train", output, classifier_checkpoint, multiscale=ONE_SIZE, crf=None, limit=3,
            save_scores=True, device="cpu",
        )  # fmt: skip
        return output

    def test_make_pseudo_masks_by_the_command_line(self, shapes, made, tmp_path):
        words = [
            "--data.root", str(shapes.root), "--data.classes", json.dumps(shapes.classes),
            "--split", "train", "--scores_from", str(made), "--limit", "3", "--workers", "1",
        ]  # fmt: skip
        long = [*words, "--refine", json.dumps([{"kind": "crf", "iterations": 2}])]
        assert command("make_pseudo_masks", [*long, "--output", str(tmp_path / "long")]) == 0
        short = [*words, "--crf.iterations", "2"]
        assert command("make_pseudo_masks", [*short, "--output", str(tmp_path / "short")]) == 0
        blurred = [*words, "--refine", json.dumps(CHAIN)]
        assert command("make_pseudo_masks", [*blurred, "--output", str(tmp_path / "b")]) == 0
        for path in (tmp_path / "long/masks").iterdir():
            assert path.read_bytes() == (tmp_path / "short/masks" / path.name).read_bytes()
        facts = json.loads((tmp_path / "b/manifest.json").read_text())
        assert facts["crf_backend"] == "torch"
        assert [step["kind"] for step in facts["config"]["refine"]] == ["blur", "crf"]
        again = ["--config", str(tmp_path / "b/config.yaml")]
        assert command("make_pseudo_masks", again) == 0

    def test_choose_threshold(self, shapes, made, tmp_path):
        """Its curve is that of the steps that are given."""
        chosen = {}
        for name, steps in (("crf", None), ("blur", chain([{"kind": "blur", "side": 9}]))):
            output = tmp_path / name
            choose_threshold(
                shapes, "train", made / "scores", output, rule="crf", refine=steps, limit=3
            )
            chosen[name] = (output / "curve.csv").read_text()
        assert chosen["crf"] != chosen["blur"]

    def test_predict(self, shapes, tmp_path):
        """The network's probabilities go in, and what comes out decides."""
        last = train_seg(
            shapes, shapes.root / shapes.masks, tmp_path / "seg", augment=SMALL, epochs=1,
            model=SegmenterConfig(backbone="narrow_resnet10", output_stride=16, rates=(1,)),
            batch_size=6, trainer=CPU,
        )  # fmt: skip
        steps = chain([{"kind": "blur", "side": 9}])
        masks = predict(last, tmp_path / "p", data=shapes, split="val", refine=steps, device="cpu")
        model, _ = load_segmenter(last)
        for path in masks.iterdir():
            image = read_image(shapes.root / f"JPEGImages/{path.stem}.jpg")
            seen = segment(model, normalise(image, IMAGENET), InferenceConfig()).numpy()
            expected = np.stack([cv2.blur(label, (9, 9)) for label in seen]).argmax(axis=0)
            assert np.array_equal(read_mask(path), expected)
            assert not np.array_equal(expected, seen.argmax(axis=0))
