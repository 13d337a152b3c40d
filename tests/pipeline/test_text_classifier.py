"""From the names of classes to masks and doubts of labels, with nothing learned."""

import csv
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.models.text_towers import colour_classifier, config_of, write_json
from tests.pipeline.conftest import make, manifest
from tests.pipeline.test_check_labels import Coloured
from wsss.attribution import MultiScaleConfig
from wsss.cli import command
from wsss.data import DataConfig, read_mask
from wsss.models.backbones import BackboneConfig
from wsss.models.open_clip_files import embed_prompts, image_tower, load_pair
from wsss.models.prompts import PromptConfig, prompts_of
from wsss.models.text_classifier import TextClassifier
from wsss.pipeline.check_labels import check_labels
from wsss.pipeline.label_check.zero_shot import Recogniser
from wsss.pipeline.text_classifier import text_classifier
from wsss.refinement import BackgroundConfig, CRFConfig, RefinementChain
from wsss.refinement.walk.config import WalkConfig
from wsss.tasks.boundary import BoundaryTask
from wsss.tasks.checkpoint import kind_of, load_backbone_weights, load_classifier
from wsss.tasks.checkpoint import save_text_classifier as save
from wsss.tasks.cross_validation import CrossValidationConfig
from wsss.tasks.guides import Guides
from wsss.tasks.optim import OptimConfig

COLOURS = {"red": 1, "green": 2}


@pytest.fixture(scope="module")
def colours(tmp_path_factory) -> Path:
    """A checkpoint of the classifier whose weights tell red and green apart."""
    path = tmp_path_factory.mktemp("colours") / "last.ckpt"
    model = colour_classifier()
    save(path, model, config_of("patches", layers=1, head_width=32), COLOURS)
    return path


@pytest.fixture(scope="module")
def written(shapes, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    prompts = PromptConfig(classes={"bar": ["bar", "rod"]}, background=("sky", "ring", "wall"))
    return text_classifier(shapes, folder / "out", str(write_json(folder)), None, prompts)


class TestCommand:
    def test_the_checkpoint_is_the_network(self, shapes, written):
        """The towers again, of the same seed, and the logits put together by hand."""
        assert kind_of(written) == "text_classifier"
        model, classes = load_classifier(written, shapes)
        assert isinstance(model, TextClassifier)
        assert not model.training
        assert classes == shapes.classes
        torch.manual_seed(0)
        pair = load_pair(str(written.parents[1] / "tiny-clip.json"), None, None)
        prompts = PromptConfig(classes={"bar": ["bar", "rod"]}, background=("sky", "wall"))
        texts, background = embed_prompts(pair, prompts_of(prompts, list(shapes.classes)))
        assert torch.equal(model.text, texts)
        assert torch.equal(model.background, background)
        assert model.normalisation == pair.normalisation
        seen = torch.randn(1, 3, 45, 61, generator=torch.Generator().manual_seed(0))
        tower = image_tower(pair).eval()
        with torch.no_grad():
            e = torch.nn.functional.normalize(tower.embed(seen), dim=1) * pair.scale
            expected = e @ texts.T - (e @ background.T).logsumexp(1, keepdim=True)
            assert (model(seen) - expected).abs().max() < 1e-5
        assert manifest(written.parent)["background"] == [
            ["a clean origami sky."], ["a clean origami wall."]
        ]  # fmt: skip
        assert manifest(written.parent)["pooling"] == "patches"

    def test_from_a_shell(self, shapes, tmp_path, capsys):
        words = [
            "--data.root", str(shapes.root), "--data.classes", json.dumps(shapes.classes),
            "--model", str(write_json(tmp_path)), "--weights", "null", "--pooling", "own",
            "--prompts.templates", '["a photo of a {}."]',
            "--prompts.classes", '{"bar": ["rod"]}', "--prompts.background", '["sky"]',
            "--output", str(tmp_path / "o"),
        ]  # fmt: skip
        assert command("text_classifier", words) == 0
        model, _ = load_classifier(tmp_path / "o/last.ckpt")
        assert isinstance(model, TextClassifier)
        assert model.backbone.pooling == "own"
        assert manifest(tmp_path / "o")["classes"]["bar"] == ["a photo of a rod."]
        words[words.index("--prompts.classes") + 1] = '{"bra": ["rod"]}'
        assert command("text_classifier", words) == 1
        assert "prompts.classes.bra: data.classes has no such class" in capsys.readouterr().err

    def test_random_weights_are_said_to_be_random(self, shapes, tmp_path, caplog):
        caplog.set_level(logging.WARNING)
        text_classifier(shapes, tmp_path / "o", str(write_json(tmp_path)), None)
        assert "a network of random weights tells nothing" in caplog.text

    def test_other_weights_are_another_run(self, shapes, tmp_path):
        model = str(write_json(tmp_path))
        torch.manual_seed(1)
        state = load_pair(model, None, None).network.state_dict()
        torch.save(state, tmp_path / "w.pt")
        made = text_classifier(shapes, tmp_path / "o", model, str(tmp_path / "w.pt"))
        found, _ = load_classifier(made)
        assert torch.equal(found.state_dict()["backbone.proj"], state["visual.proj"])
        torch.save({key: value + 1 for key, value in state.items()}, tmp_path / "w.pt")
        with pytest.raises(ValueError, match="weights_sha256"):
            text_classifier(shapes, tmp_path / "o", model, str(tmp_path / "w.pt"))

    def test_other_classes_are_refused(self, shapes, written):
        with pytest.raises(ValueError, match="was trained on the classes"):
            load_classifier(written, DataConfig(root=shapes.root, classes={"dog": 1}))

    def test_what_needs_a_trained_classifier_says_so(self, written, shapes, segmenter_network):
        wanted = "expected a classifier written by train_cls, found (a )?text_classifier"
        with pytest.raises(ValueError, match=wanted):
            BoundaryTask(written, shapes.classes, radius=2, optim=OptimConfig())
        with pytest.raises(ValueError, match=wanted):
            load_backbone_weights(segmenter_network, written)


@pytest.fixture
def segmenter_network():
    from wsss.models.segmenter import SegmenterConfig, build_segmenter

    return build_segmenter(SegmenterConfig(backbone="resnet18"), 6)


@pytest.fixture(scope="module")
def squares(tmp_path_factory) -> DataConfig:
    """Grey images of 64 pixels with a red square of 24 in a corner; one has a green one too."""
    root = tmp_path_factory.mktemp("squares")
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = ["image,labels"]
    corners = [(0, 0), (0, 40), (40, 0), (40, 40), (0, 0)]
    for number, (top, left) in enumerate(corners):
        pixels = rng.integers(110, 146, (64, 64, 3), dtype=np.uint8)
        mask = np.zeros((64, 64), dtype=np.uint8)
        pixels[top : top + 24, left : left + 24] = (220, 40, 40)
        mask[top : top + 24, left : left + 24] = 1
        if number == 4:
            pixels[40:, 40:], mask[40:, 40:] = (40, 220, 40), 2
        Image.fromarray(pixels).save(root / f"JPEGImages/i{number}.png")
        Image.fromarray(mask).save(root / f"SegmentationClass/i{number}.png")
        rows.append(f"i{number},red{' green' if number == 4 else ''}")
    (root / "labels.csv").write_text("\n".join(rows))
    (root / "ImageSets/Segmentation/train.txt").write_text("i0\ni1\ni2\ni3\ni4\n")
    return DataConfig(root=root, classes=COLOURS)


def least_iou(folder: Path, data: DataConfig) -> float:
    """Over all images and their classes."""
    found = []
    for number in range(5):
        mask = read_mask(folder / f"masks/i{number}.png")
        truth = read_mask(data.root / f"SegmentationClass/i{number}.png")
        for k in set(truth.ravel().tolist()) - {0}:
            found.append(((mask == k) & (truth == k)).sum() / ((mask == k) | (truth == k)).sum())
        assert set(mask.ravel().tolist()) - {255} == set(truth.ravel().tolist())
    return min(found)


class TestRoad:
    def test_seeds_of_clip_es(self, squares, colours, tmp_path):
        """Grad-CAM, the walk by attention within boxes, and the CRF, each image by itself."""
        settings = {
            "method": "gradcam",
            "background": BackgroundConfig(threshold=0.4),
        }
        make(squares, tmp_path / "plain", colours, **settings)
        assert least_iou(tmp_path / "plain", squares) > 0.6
        walk = WalkConfig(affinity="attention", checkpoint=colours, boxes=0.4)
        for name, steps in (("walk", (walk,)), ("crf", (walk, CRFConfig()))):
            make(squares, tmp_path / name, colours, refine=RefinementChain(steps), **settings)
        assert least_iou(tmp_path / "walk", squares) > 0.6
        assert least_iou(tmp_path / "crf", squares) > 0.6

    def test_predicted_classes(self, squares, colours, tmp_path):
        """No label is read: what is there has an even chance against the background."""
        make(
            squares, tmp_path / "o", colours, method="gradcam", label_mode="predicted",
            background=BackgroundConfig(threshold=0.4),
        )  # fmt: skip
        for number in range(5):
            found = set(read_mask(tmp_path / f"o/masks/i{number}.png").ravel().tolist())
            assert found - {0, 255} == ({1, 2} if number == 4 else {1})

    def test_a_random_network_on_drawn_images(self, shapes, written, tmp_path):
        """All steps with the names of the classes alone, at two sizes."""
        walk = WalkConfig(affinity="attention", checkpoint=written, boxes=0.4)
        make(
            shapes, tmp_path / "o", written, method="gradcam", limit=3,
            multiscale=MultiScaleConfig(scales=(0.7, 1.0)),
            refine=RefinementChain((walk, CRFConfig(iterations=1))),
        )  # fmt: skip
        facts = manifest(tmp_path / "o")
        assert facts["made_now"] == 3
        for name in ("train_0000", "train_0001", "train_0002"):
            truth = read_mask(shapes.root / f"SegmentationClass/{name}.png")
            found = read_mask(tmp_path / f"o/masks/{name}.png")
            assert found.shape == truth.shape
            assert set(found.ravel().tolist()) - {0, 255} <= set(truth.ravel().tolist())

    def test_explain(self, squares, colours, tmp_path):
        words = [
            str(squares.root / "JPEGImages/i4.png"), "--checkpoint", str(colours), "--labels",
            "red", "green", "--method", "gradcam", "--output", str(tmp_path / "e.png"),
        ]  # fmt: skip
        assert command("explain", words) == 0
        assert np.asarray(Image.open(tmp_path / "e.png")).std() > 10

    def test_features_for_other_steps(self, squares, colours):
        """The walk by features and normal memories see the layer that is explained."""
        pixels = np.asarray(Image.open(squares.root / "JPEGImages/i0.png"))
        (found,) = Guides().features(pixels, colours, None, None)
        assert found.shape == (32, 8, 8)
        assert found[0, :3, :3].min() > found[0, 3:, 3:].max()  # the channel of red


@pytest.fixture
def coloured(tmp_path) -> Coloured:
    """Those of `Coloured`, but neither patch covers the other."""
    found = Coloured(tmp_path / "data")
    rng = np.random.default_rng(0)
    for image, names in found.labels.items():
        pixels = rng.integers(110, 146, (48, 64, 3), dtype=np.uint8)
        for left, name, colour in ((0, "red", (220, 40, 40)), (40, "green", (40, 220, 40))):
            if name in names:
                top = rng.integers(0, 24)
                pixels[top : top + 24, left : left + 24] = colour
        Image.fromarray(pixels).save(found.images / f"{image}.png")
    return found


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


class TestCheckLabels:
    settings = {  # noqa: RUF012
        "split": "train",
        "by": "clip",
        "multiscale": MultiScaleConfig(scales=(1.0,), flip=True, long_side=64),
        "device": "cpu",
    }

    def test_planted_errors_come_first(self, coloured, colours, tmp_path):
        """i00 has neither patch, i03 both; of 80 labels the two that are wrong lead the list."""
        coloured.flip("i00", "red")
        coloured.flip("i03", "green")
        path = check_labels(
            coloured.data, output=tmp_path / "o", checkpoint=colours, **self.settings
        )
        rows = rows_of(path)
        assert {(row["image"], row["class"], row["kind"]) for row in rows} == {
            ("i00", "red", "wrong?"), ("i03", "green", "missing?")
        }  # fmt: skip
        assert all(float(row["score"]) > 0.9 for row in rows)
        summary = json.loads((tmp_path / "o/check_labels.json").read_text())
        assert summary["by"] == "clip"
        assert summary["cross_validated"] is False
        assert summary["classes"]["red"]["judged"]
        assert summary["classes"]["red"]["average_precision"] > 0.9

    def test_a_class_that_the_texts_do_not_tell(self, coloured, colours, tmp_path):
        """Labels the wrong way round: no threshold could be right."""
        for image in list(coloured.labels):
            coloured.labels[image] = [c for c in ("red",) if c not in coloured.labels[image]]
            coloured.labels[image] += ["green"] if int(image[1:]) >> 1 & 1 else []
        coloured.write()
        check_labels(coloured.data, output=tmp_path / "o", checkpoint=colours, **self.settings)
        found = json.loads((tmp_path / "o/check_labels.json").read_text())["classes"]
        assert found["red"]["judged"] is False
        assert "its texts do not tell images with it" in found["red"]["reason"]
        assert found["green"]["judged"]

    def test_it_recognises_by_the_class_token(self, colours):
        """Though the checkpoint explains the mean of the patches."""
        model, _ = load_classifier(colours)
        seen = torch.randn(2, 3, 32, 40, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            found = Recogniser(model, colours)(seen)
            assert found.shape == (2, 2, 1, 1)
            assert torch.equal(found[:, :, 0, 0], colour_classifier("own")(seen))
            assert not torch.allclose(found[:, :, 0, 0], colour_classifier("patches")(seen))

    def test_kept_scores_give_the_same(self, coloured, colours, tmp_path):
        texts = [
            check_labels(
                coloured.data, output=tmp_path / name, checkpoint=colours, at_least=0.0,
                cache=tmp_path / "cache", **self.settings,
            ).read_text()
            for name in ("a", "b")
        ]  # fmt: skip
        assert texts[0] == texts[1]
        assert len(texts[0].splitlines()) == 81

    def test_folds_by_the_towers_features(self, coloured, colours, tmp_path):
        """The tower has not learned these labels, so that the folds mean what they say."""
        config = CrossValidationConfig(folds=4, strengths=(1e-3,))
        settings = self.settings | {"by": "cross_validation", "validation": config}
        check_labels(coloured.data, output=tmp_path / "o", checkpoint=colours, **settings)
        assert json.loads((tmp_path / "o/check_labels.json").read_text())["cross_validated"]

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"checkpoint": None}, "checkpoint: by: clip needs one written by text_classifier"),
            ({"model": BackboneConfig(name="resnet18")}, "model: means nothing with by: clip"),
            ({"validation": CrossValidationConfig(folds=4)}, "validation: means nothing with"),
        ],
    )
    def test_what_means_nothing_is_refused(self, squares, colours, tmp_path, changes, message):
        with pytest.raises(ValueError, match=message):
            check_labels(
                squares, output=tmp_path / "o", **self.settings | {"checkpoint": colours} | changes
            )
        assert not (tmp_path / "o").exists()

    def test_a_trained_classifier_is_refused(self, shapes, classifier_checkpoint, tmp_path):
        with pytest.raises(ValueError, match="by: clip needs one written by text_classifier, got"):
            check_labels(
                shapes, output=tmp_path / "o", checkpoint=classifier_checkpoint,
                **self.settings | {"limit": None},
            )  # fmt: skip
