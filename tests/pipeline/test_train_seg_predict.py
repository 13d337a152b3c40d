"""Training the segmentation network on masks, and segmenting folders of photographs with it."""

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from tests.conftest import CPU, SHAPES, SMALL
from tests.pipeline.conftest import IDS, SMALL_NET
from wsss.data import load_records, read_image, read_mask, voc_palette, write_mask
from wsss.data.transforms import normalise
from wsss.errors import IncompleteError
from wsss.metrics import confusion_counts, segmentation_scores
from wsss.normalisation import IMAGENET
from wsss.pipeline.predict import InferenceConfig, predict, segment
from wsss.pipeline.train_seg import train_seg
from wsss.refinement import CRFConfig
from wsss.tasks.checkpoint import load_segmenter


def manifest(output: Path) -> dict:
    return json.loads((output / "manifest.json").read_text(encoding="utf-8"))


def write_image(path: Path, height: int, width: int, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3))
    pixels = cv2.resize(noise.astype(np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    Image.fromarray(pixels).save(path)


class TestTraining:
    def test_checkpoint_manifest_and_logs(self, segmenter_checkpoint):
        output = segmenter_checkpoint.parent
        assert segmenter_checkpoint.name == "last.ckpt"
        assert not (output / "best.ckpt").exists(), "trap 10: none is chosen by its mIoU"
        facts = manifest(output)
        assert facts["complete"] is True
        assert facts["checkpoint_chosen_by"] == "last epoch"
        assert (facts["train_images"], facts["val_images"]) == (12, 6)
        assert (output / "csv" / "metrics.csv").is_file()
        assert list((output / "tensorboard").glob("events.*"))

    def test_the_logged_miou_is_that_of_the_checkpoint(self, shapes, segmenter_checkpoint):
        model, classes = load_segmenter(segmenter_checkpoint)
        assert classes == SHAPES
        counts = 0
        for record in load_records(shapes, "val", with_labels=False):
            with torch.no_grad():
                logits = model(normalise(read_image(record.image), IMAGENET)[None])
            counts += confusion_counts(logits[0].argmax(0), read_mask(record.mask), 6)
        scores = segmentation_scores(counts)
        logged = manifest(segmenter_checkpoint.parent)["last_epoch"]
        # one pixel near a tie may fall either way in another batch layout
        assert logged["val_miou"] == pytest.approx(scores.miou, abs=1e-3)
        assert logged["val_pixel_accuracy"] == pytest.approx(scores.pixel_accuracy, abs=1e-3)

    def test_missing_pseudo_masks_are_refused_before_training(self, shapes, tmp_path, monkeypatch):
        monkeypatch.setattr("wsss.tasks.training.fit", lambda *_: pytest.fail("training has begun"))
        masks = tmp_path / "masks"
        shutil.copytree(shapes.root / shapes.masks, masks)
        (masks / f"{IDS[4]}.png").unlink()
        (masks / f"{IDS[7]}.png").unlink()
        with pytest.raises(
            FileNotFoundError, match=rf"2 masks are missing, for example {masks}/{IDS[4]}\.png"
        ):
            train_seg(data=shapes, masks=masks, output=tmp_path / "o", model=SMALL_NET, trainer=CPU)

    def test_a_mask_of_another_size_is_named(self, shapes, tmp_path):
        masks = tmp_path / "masks"
        shutil.copytree(shapes.root / shapes.masks, masks)
        for name in IDS:
            write_mask(masks / f"{name}.png", np.zeros((20, 30), np.uint8))
        with pytest.raises(ValueError, match=r"mask .*train_\d+\.png is 30 x 20 pixels, but .*jpg"):
            train_seg(
                data=shapes,
                masks=masks,
                output=tmp_path / "o",
                model=SMALL_NET,
                augment=SMALL,
                epochs=1,
                batch_size=6,
                trainer=CPU,
            )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Photographs with all kinds of names, sizes and formats."""
    root = tmp_path_factory.mktemp("photographs")
    write_image(root / "plain.jpg", 60, 80)
    write_image(root / "été на море 1.5.jpg", 47, 63, seed=1)
    write_image(root / "sub folder/deep/plain.PNG", 40, 96, seed=2)
    write_image(root / "twin.jpg", 33, 40, seed=3)
    write_image(root / "twin.png", 50, 33, seed=4)
    write_image(root / "tiny.bmp", 5, 9, seed=5)
    Image.fromarray(np.full((40, 44), 90, np.uint8)).save(root / "grey.jpeg")
    (root / "notes.txt").write_text("not an image")
    return root


@pytest.fixture(scope="module")
def predicted(folder, segmenter_checkpoint, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("predicted") / "run"
    masks = predict(
        checkpoint=segmenter_checkpoint, output=output, images=folder, overlays=True, device="cpu"
    )
    assert masks == output / "masks"
    return output


NAMES = {
    "plain": "plain.jpg",
    "été на море 1.5": "été на море 1.5.jpg",
    "sub folder/deep/plain": "sub folder/deep/plain.PNG",
    "twin.jpg": "twin.jpg",
    "twin.png": "twin.png",
    "tiny": "tiny.bmp",
    "grey": "grey.jpeg",
}


class TestFolderOfImages:
    def test_each_image_has_its_mask(self, folder, predicted):
        found = {
            path.relative_to(predicted / "masks").as_posix().removesuffix(".png")
            for path in (predicted / "masks").rglob("*.png")
        }
        assert found == set(NAMES)
        for name, source in NAMES.items():
            with Image.open(predicted / "masks" / f"{name}.png") as file:
                assert file.mode == "P"
                assert file.getpalette() == voc_palette().ravel().tolist()
                values = np.array(file)
            assert values.shape == read_image(folder / source).shape[:2]
            assert set(np.unique(values)) <= set(range(6))
            assert (predicted / "overlays" / f"{name}.png").is_file()

    def test_masks_are_the_argmax_of_the_network(self, folder, predicted, segmenter_checkpoint):
        model, _ = load_segmenter(segmenter_checkpoint)
        for name in ("plain", "twin.png", "été на море 1.5"):
            with torch.no_grad():
                image = normalise(read_image(folder / NAMES[name]), IMAGENET)
                expected = model(image[None])[0].argmax(dim=0).numpy()
            assert (read_mask(predicted / "masks" / f"{name}.png") == expected).mean() > 0.999

    def test_manifest(self, predicted, segmenter_checkpoint):
        facts = manifest(predicted)
        assert facts["complete"] is True
        assert (facts["images"], facts["made_now"], facts["made_before"]) == (7, 7, 0)
        digest = hashlib.sha256(segmenter_checkpoint.read_bytes()).hexdigest()
        assert facts["identity"] == {"checkpoint_sha256": digest}

    def test_a_broken_file_is_named_and_the_others_are_made(
        self, folder, predicted, segmenter_checkpoint, tmp_path
    ):
        shutil.copytree(folder, tmp_path / "images")
        (tmp_path / "images/a broken one.jpg").write_text("no image")
        output = tmp_path / "run"
        with pytest.raises(
            IncompleteError, match=r"1 of 8 images failed: a broken one: .*one\.jpg"
        ):
            predict(checkpoint=segmenter_checkpoint, output=output, images=tmp_path / "images")
        assert len(list((output / "masks").rglob("*.png"))) == 7
        facts = manifest(output)
        assert facts["complete"] is False
        assert list(facts["failed"]) == ["a broken one"]

        before = {p: p.stat().st_mtime_ns for p in (output / "masks").rglob("*.png")}
        write_image(tmp_path / "images/a broken one.jpg", 40, 40)
        settings = {"checkpoint": segmenter_checkpoint, "images": tmp_path / "images"}
        predict(**settings, output=output)
        assert {p: p.stat().st_mtime_ns for p in before} == before
        facts = manifest(output)
        assert (facts["complete"], facts["made_before"], facts["made_now"]) == (True, 7, 1)

    def test_no_file_is_lost_when_a_name_ends_in_another_suffix(
        self, segmenter_checkpoint, tmp_path
    ):
        """a.jpg and a.png share a stem and keep their suffix; the stem of a.jpg.jpg is a.jpg."""
        for i, name in enumerate(("a.jpg", "a.png", "a.jpg.jpg")):
            write_image(tmp_path / "images" / name, 40, 40 + 8 * i)
        masks = predict(
            checkpoint=segmenter_checkpoint, output=tmp_path / "run", images=tmp_path / "images"
        )
        widths = sorted(read_mask(path).shape[1] for path in masks.rglob("*.png"))
        assert widths == [40, 48, 56]

    def test_an_output_inside_the_folder_is_not_segmented_itself(
        self, segmenter_checkpoint, tmp_path
    ):
        write_image(tmp_path / "images/a.jpg", 40, 40)
        output = tmp_path / "images" / "run"
        for _ in range(2):
            masks = predict(
                checkpoint=segmenter_checkpoint, output=output, images=tmp_path / "images"
            )
        assert [path.name for path in masks.rglob("*.png")] == ["a.png"]
        assert manifest(output)["images"] == 1

    def test_an_empty_or_missing_folder(self, segmenter_checkpoint, tmp_path):
        with pytest.raises(FileNotFoundError, match="images: no such folder or file"):
            predict(checkpoint=segmenter_checkpoint, output=tmp_path / "o", images=tmp_path / "no")
        (tmp_path / "text").mkdir()
        (tmp_path / "text/a.txt").write_text("")
        with pytest.raises(ValueError, match=r"holds no image or video \(\.jpg, "):
            predict(
                checkpoint=segmenter_checkpoint, output=tmp_path / "o", images=tmp_path / "text"
            )


class TestDataSet:
    def test_the_images_of_a_list(self, shapes, segmenter_checkpoint, tmp_path):
        masks = predict(
            checkpoint=segmenter_checkpoint, output=tmp_path / "run", data=shapes, split="val"
        )
        assert sorted(path.name for path in masks.iterdir()) == [
            f"val_{i:04d}.png" for i in range(6)
        ]

    def test_mask_values_are_those_of_the_checkpoint_s_classes(
        self, segmenter_checkpoint, tmp_path
    ):
        """Labels 1..5 are translated, not written as they are."""
        values = {"ring": 11, "star": 22, "cross": 33, "bar": 44, "blob": 55}
        loaded = torch.load(segmenter_checkpoint, weights_only=True)
        loaded["wsss"]["classes"] = values
        bias = "model.head.branches.0.bias"
        loaded["state_dict"][bias] = torch.tensor([0.0, 0, 0, 1e6, 0, 0])
        torch.save(loaded, tmp_path / "c.ckpt")
        write_image(tmp_path / "images/a.jpg", 40, 40)
        masks = predict(
            checkpoint=tmp_path / "c.ckpt", output=tmp_path / "run", images=tmp_path / "images"
        )
        assert np.unique(read_mask(masks / "a.png")).tolist() == [33]

    @pytest.mark.parametrize("given", ["nothing", "split", "data", "both"])
    def test_either_a_folder_or_a_list(self, shapes, segmenter_checkpoint, tmp_path, given):
        settings = {
            "nothing": {},
            "split": {"split": "val"},
            "data": {"data": shapes},
            "both": {"data": shapes, "split": "val", "images": tmp_path},
        }[given]
        with pytest.raises(ValueError, match="give either images or data and split"):
            predict(checkpoint=segmenter_checkpoint, output=tmp_path / "run", **settings)

    def test_other_classes_are_refused(self, shapes, segmenter_checkpoint, tmp_path):
        data = dataclasses.replace(shapes, classes={"ring": 1})
        with pytest.raises(ValueError, match="was trained on the classes"):
            predict(
                checkpoint=segmenter_checkpoint, output=tmp_path / "run", data=data, split="val"
            )

    def test_a_classifier_is_refused(self, shapes, classifier_checkpoint, tmp_path):
        with pytest.raises(
            ValueError, match="expected a segmenter written by train_seg, found classifier"
        ):
            predict(
                checkpoint=classifier_checkpoint, output=tmp_path / "run", data=shapes, split="val"
            )


class TestSizes:
    def test_probabilities_are_averaged_over_scales_and_flips(self, segmenter_checkpoint):
        """The slow reference: one view at a time, in float64."""
        model, _ = load_segmenter(segmenter_checkpoint)
        model = model.double()
        generator = torch.Generator().manual_seed(0)
        image = torch.randn(3, 45, 70, generator=generator, dtype=torch.float64)
        config = InferenceConfig(scales=(1.0, 1.5), flip=True)
        views = []
        with torch.no_grad():
            for size in ((45, 70), (68, 105)):  # 67.5 rounds to even
                scaled = image[None]
                if size != (45, 70):
                    scaled = F.interpolate(scaled, size, mode="bilinear", antialias=True)
                for mirror in (False, True):
                    view = scaled.flip(3) if mirror else scaled
                    logits = F.interpolate(model(view), (45, 70), mode="bilinear")
                    probabilities = logits.softmax(1)[0]
                    views.append(probabilities.flip(2) if mirror else probabilities)
        expected = torch.stack(views).mean(dim=0)
        found = segment(model, image, config)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(found.sum(dim=0), torch.ones(45, 70, dtype=torch.float64))
        single = segment(model, image, InferenceConfig())
        assert (found - single).abs().max() > 1e-4, "the views agree; the test is empty"

    def test_flip_makes_the_result_mirror_with_the_image(self, segmenter_checkpoint):
        model, _ = load_segmenter(segmenter_checkpoint)
        image = torch.randn(3, 48, 64, generator=torch.Generator().manual_seed(0))
        config = InferenceConfig(flip=True)
        mirrored = segment(model, image.flip(2), config).flip(2)
        torch.testing.assert_close(mirrored, segment(model, image, config), rtol=0, atol=1e-5)

    def test_long_side_changes_what_the_network_sees_and_not_the_mask(self, segmenter_checkpoint):
        seen = []
        model, _ = load_segmenter(segmenter_checkpoint)
        model.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
        result = segment(model, torch.zeros(3, 40, 80), InferenceConfig(long_side=64))
        assert seen == [(1, 3, 32, 64)]
        assert result.shape == (6, 40, 80)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"scales": ()}, r"inference\.scales: expected positive"),
            ({"scales": (1.0, 0.0)}, r"inference\.scales: expected positive"),
            ({"long_side": 8}, r"inference\.long_side: expected at least 32"),
        ],
    )
    def test_bad_sizes_are_refused_by_key(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            InferenceConfig(**arguments)

    def test_crf(self, folder, segmenter_checkpoint, tmp_path):
        pytest.importorskip("pydensecrf", reason="pydensecrf2 does not build on Python 3.13")
        shutil.copytree(folder / "sub folder", tmp_path / "images")
        masks = predict(
            checkpoint=segmenter_checkpoint,
            output=tmp_path / "run",
            images=tmp_path / "images",
            inference=InferenceConfig(scales=(0.5, 1.0), flip=True),
            crf=CRFConfig(iterations=2, gaussian_sxy=1, bilateral_sxy=67, bilateral_srgb=3),
        )
        assert read_mask(masks / "deep/plain.png").shape == (40, 96)
