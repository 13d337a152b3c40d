"""What happens to a batch of images on its way to masks: the same as to each image alone."""

import copy
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from tests.pipeline.conftest import IDS, ONE_SIZE
from wsss.attribution import AttributionConfig, MultiScaleConfig, attribute, attribute_multiscale
from wsss.attribution.multiscale import attribute_at_sizes
from wsss.cli import command
from wsss.data import Record, read_image
from wsss.data.transforms import normalise
from wsss.errors import IncompleteError
from wsss.models import BackboneConfig, build_classifier
from wsss.normalisation import IMAGENET
from wsss.pipeline.make_pseudo_masks import make_pseudo_masks
from wsss.pipeline.mask_making.explaining import Explainer
from wsss.pipeline.mask_making.handover import Failed, each
from wsss.pipeline.mask_making.network import MEMORY_OF_A_NETWORK, copies_of, networks_that_fit
from wsss.pipeline.mask_making.reading import batches_of, read_photograph
from wsss.pipeline.mask_making.scoring import normalised
from wsss.refinement.seeds import BackgroundConfig
from wsss.runs.settings import plain

CPU = torch.device("cpu")
read_batch = each(read_photograph)
VALUES = np.array([3, 7, 9], np.uint8)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_classifier(BackboneConfig(name="squeezenet1_0"), 3).eval()


@pytest.fixture
def draw(tmp_path):
    """Writes an image file of noise and gives its record."""

    def write(name: str, size=(48, 40), labels=(1, 0, 1), turned: bool = False) -> Record:
        rng = np.random.default_rng(len(list(tmp_path.iterdir())))
        image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3)).astype(np.uint8))
        exif = Image.Exif()
        if turned:
            exif[0x0112] = 6
        image.save(tmp_path / f"{name}.jpg", exif=exif)
        labels = None if labels is None else np.array(labels, np.float32)
        return Record(name, tmp_path / f"{name}.jpg", tmp_path / f"{name}.png", labels)

    return write


def ids(batches) -> list[str]:
    return ["".join(record.image_id for record in batch) for batch in batches]


class TestBatches:
    def test_of_one_size_and_number_of_classes_in_the_order_of_the_list(self, draw):
        wide, tall = {"size": (48, 40)}, {"size": (40, 48)}
        records = [
            draw("a", **wide),
            draw("b", **tall),
            draw("c", **wide, labels=(0, 1, 1)),
            draw("d", **wide, labels=(0, 1, 0)),
            draw("e", **tall),
            draw("f", **wide),
            draw("g", **wide, labels=(0, 0, 0)),
        ]
        assert ids(batches_of(records, 2)) == ["ac", "f", "be", "d", "g"]
        assert ids(batches_of(records, 8)) == ["acf", "be", "d", "g"]
        assert ids(batches_of(records, 1)) == list("abcdefg")
        assert batches_of([], 8) == []

    def test_without_labels_by_size_alone(self, draw):
        records = [draw("a", labels=None), draw("b", (32, 32), None), draw("c", labels=None)]
        assert ids(batches_of(records, 8)) == ["ac", "b"]

    def test_broken_and_missing_images_are_apart_and_named_later(self, draw):
        records = [draw(name) for name in "abcd"]
        records[1].image.write_bytes(b"not an image")
        records[2].image.unlink()
        assert ids(batches_of(records, 8)) == ["ad", "bc"]
        wrong, missing = read_batch(records[1:3])
        assert (wrong.record, missing.record) == (records[1], records[2])
        assert "cannot decode image" in wrong.error
        assert "b.jpg" in wrong.error
        assert "not found" in missing.error
        assert "c.jpg" in missing.error

    def test_one_image_a_batch_opens_no_file(self, draw, monkeypatch):
        records = [draw("a"), draw("b")]
        monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("a file was opened"))
        assert ids(batches_of(records, 1)) == ["a", "b"]


def explainer(network, threshold=None, sizes=ONE_SIZE):
    return Explainer(
        network, IMAGENET, CPU, VALUES, threshold, sizes, AttributionConfig(method="gradcam")
    )


def assert_like_single_ones(explain, records, exactly=False) -> list:
    together = explain(read_batch(records))
    for loaded, record in zip(together, records, strict=True):
        (alone,) = explain(read_batch([record]))
        assert loaded.record is record
        assert loaded.classes.tolist() == alone.classes.tolist()
        assert loaded.maps.shape == (len(alone.classes), *read_image(record.image).shape[:2])
        if exactly:
            np.testing.assert_array_equal(loaded.maps, alone.maps)
        else:
            np.testing.assert_allclose(loaded.maps, alone.maps, atol=1e-4 * alone.maps.max())
    return together


class TestExplainer:
    def test_each_image_has_the_maps_of_its_own_classes(self, network, draw):
        records = [draw("a"), draw("b", labels=(0, 1, 1)), draw("c", labels=(1, 1, 0))]
        found = assert_like_single_ones(explainer(network), records)
        assert [loaded.classes.tolist() for loaded in found] == [[3, 9], [7, 9], [3, 7]]
        assert all(loaded.maps.any() for loaded in found)

    def test_images_turned_by_exif_are_explained_as_they_are_decoded(self, network, draw):
        records = [draw("a", (64, 40)), draw("b", (64, 40), turned=True), draw("c", (64, 40))]
        assert ids(batches_of(records, 8)) == ["ac", "b"]
        found = assert_like_single_ones(explainer(network), records)
        assert [loaded.maps.shape[1:] for loaded in found] == [(40, 64), (64, 40), (40, 64)]

    def test_a_broken_image_does_not_touch_the_others(self, network, draw):
        records = [draw("a"), draw("b"), draw("c")]
        data = records[1].image.read_bytes()
        records[1].image.write_bytes(data[: len(data) // 2])
        first, broken, last = explainer(network)(read_batch(records))
        assert isinstance(broken, Failed)
        assert broken.record is records[1]
        (alone,) = explainer(network)(read_batch(records[:1]))
        np.testing.assert_allclose(first.maps, alone.maps, atol=1e-4 * alone.maps.max())
        assert last.maps.any()

    def test_labels_that_are_predicted_are_those_of_single_images(self, network, draw):
        """Also where the images of a batch are given 0, 1, ... classes."""
        records = [draw(name, labels=None) for name in "abcdefgh"]
        sizes = MultiScaleConfig(scales=(0.5, 1.0), flip=False, long_side=64)
        images = [loaded.image for loaded in read_batch(records)]
        with torch.no_grad():
            views = [sizes.base_view(normalise(image, IMAGENET)) for image in images]
            chances = torch.cat([network(view) for view in views]).sigmoid()
        threshold = float(chances.flatten().sort().values[11:13].mean())
        found = assert_like_single_ones(explainer(network, threshold, sizes), records)
        expected = [VALUES[row.numpy()].tolist() for row in chances >= threshold]
        assert [loaded.classes.tolist() for loaded in found] == expected
        assert sum(map(len, expected)) == 12


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("method", ["tif", "gradcam"])
def test_a_batch_at_several_sizes_equals_its_images(network, method, flip):
    """Images with 0, 1 and 2 classes; in float64, so that the order of sums does not show."""
    model = copy.deepcopy(network).double()
    images = torch.randn(4, 3, 40, 48, generator=torch.Generator().manual_seed(3)).double()
    labels = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 1, 0], [0, 1, 1]])
    sizes = MultiScaleConfig(scales=(0.8, 1.0, 1.5), flip=flip)
    configs = [AttributionConfig(method=method), AttributionConfig(method="layercam")]
    found = attribute_at_sizes(model, images, labels, sizes, configs)
    together = [one.maps for one in found]
    for config, maps in zip(configs, together, strict=True):
        alone = [
            attribute_multiscale(model, image, row, sizes, config)
            for image, row in zip(images, labels, strict=True)
        ]
        assert [len(one) for one in alone] == [2, 0, 1, 2]
        torch.testing.assert_close(maps, torch.cat(alone), rtol=1e-9, atol=1e-12)
        assert maps.flatten(1).any(dim=1).any()


def test_a_batch_without_any_class_has_no_maps(network):
    found = attribute_at_sizes(
        network, torch.zeros(2, 3, 40, 48), torch.zeros(2, 3), ONE_SIZE, [AttributionConfig()]
    )
    assert [one.maps.shape for one in found] == [(0, 40, 48)]
    assert found[0].layers == tuple(network.default_layers)


class TestCopies:
    def test_they_share_the_memory_of_weights_and_nothing_else(self, network):
        copies = copies_of(network, 3)
        assert copies[0] is network
        assert len({id(module) for twin in copies for module in twin.modules()}) == 3 * len(
            list(network.modules())
        )
        for same in zip(*(twin.parameters() for twin in copies), strict=True):
            assert len({parameter.data_ptr() for parameter in same}) == 1

    def test_at_the_same_time_they_give_what_one_gives(self, network):
        images = torch.randn(6, 1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
        labels = torch.tensor([[1, 0, 1]])
        expected = [attribute(network, image, labels).maps for image in images]
        with ThreadPoolExecutor(3) as pool:
            jobs = [
                pool.submit(lambda twin: [attribute(twin, i, labels).maps for i in images], twin)
                for twin in copies_of(network, 3)
            ]
        for job in jobs:
            for found, maps in zip(job.result(), expected, strict=True):
                assert torch.equal(found, maps)

    @pytest.mark.parametrize(
        ("workers", "networks", "fit"), [(4, 2.5, 2), (4, 0.1, 1), (2, 9, 2), (1, 9, 1)]
    )
    def test_as_many_as_workers_and_memory_allow(self, monkeypatch, workers, networks, fit):
        sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": int(networks * MEMORY_OF_A_NETWORK) // 4096}
        monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
        assert networks_that_fit(workers, CPU) == fit
        assert networks_that_fit(workers, torch.device("cuda")) == 1

    def test_one_where_the_memory_is_not_known(self, monkeypatch):
        def unknown(name):
            raise ValueError("unrecognized configuration name")

        monkeypatch.setattr(os, "sysconf", unknown)
        assert networks_that_fit(4, CPU) == 1


def test_a_rerun_sees_the_batches_of_the_first_run(shapes, classifier_checkpoint, tmp_path):
    """What is done already does not move the other images into other batches: the same bytes."""
    settings = {
        "data": shapes,
        "split": "train",
        "checkpoint": classifier_checkpoint,
        "multiscale": ONE_SIZE,
        "crf": None,
        "device": "cpu",
        "workers": 1,
        "batch_size": 3,
        "save_scores": True,
    }
    output = tmp_path / "run"
    make_pseudo_masks(**settings, output=output)
    files = [*sorted((output / "masks").iterdir()), *sorted((output / "scores").iterdir())]
    before = {path: path.read_bytes() for path in files}
    times = {path: path.stat().st_mtime_ns for path in files}
    gone = [f"masks/{IDS[0]}.png", f"scores/{IDS[4]}.npz", f"scores/{IDS[7]}.npz"]
    for name in gone:
        (output / name).unlink()
    make_pseudo_masks(**settings, output=output)
    assert {path: path.read_bytes() for path in files} == before
    again = {path.stem for path in files if path.stat().st_mtime_ns != times[path]}
    assert again == {IDS[0], IDS[4], IDS[7]}


def test_broken_images_of_a_batch_are_named_by_the_command(
    own_shapes, classifier_checkpoint, tmp_path
):
    images = own_shapes.root / "JPEGImages"
    (images / f"{IDS[1]}.jpg").write_bytes(b"nothing")
    (images / f"{IDS[3]}.jpg").unlink()
    with pytest.raises(IncompleteError, match="2 of 5 images failed") as caught:
        make_pseudo_masks(
            own_shapes, "train", tmp_path / "run", classifier_checkpoint, multiscale=ONE_SIZE,
            crf=None, device="cpu", workers=2, batch_size=4, limit=5,
        )  # fmt: skip
    assert f"{IDS[1]}.jpg" in str(caught.value)
    assert f"image not found: {images / IDS[3]}.jpg" in str(caught.value)
    assert len(list((tmp_path / "run/masks").iterdir())) == 3


def test_what_a_file_asks_for_is_taken_back_on_the_command_line(
    shapes, classifier_checkpoint, tmp_path, capsys
):
    config = {
        "data": plain(shapes), "split": "train", "checkpoint": str(classifier_checkpoint),
        "multiscale": plain(ONE_SIZE), "crf": None, "device": "cpu", "workers": 1, "limit": 1,
        "save_scores": True, "overlays": True,
    }  # fmt: skip
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    words = ["--config", str(tmp_path / "config.yaml")]

    def made(output: str, *more: str) -> list[str]:
        assert (
            command("make_pseudo_masks", [*words, "--output", str(tmp_path / output), *more]) == 0
        )
        folders = [path.name for path in (tmp_path / output).iterdir() if path.is_dir()]
        return sorted(folders)

    assert made("both") == ["masks", "overlays", "scores"]
    assert made("no_scores", "--no-save-scores") == ["masks", "overlays"]
    assert made("neither", "--no-overlays", "--no_save_scores") == ["masks"]
    with pytest.raises(SystemExit):
        command("make_pseudo_masks", [*words, "--no-such-thing"])
    assert "such_thing" in capsys.readouterr().err


class TestEvidence:
    """A map's maximum is worth 1, or what the classifier gives the class in that image."""

    def explained(self, network, record, evidence):
        explain = replace(explainer(network), evidence=evidence)
        (found,) = explain(read_batch([record]))
        return normalised(found).scores

    def test_absolute_scores_end_at_the_probability(self, network, draw):
        record = draw("a", labels=(1, 0, 1))
        relative, absolute = (
            self.explained(network, record, evidence) for evidence in ("relative", "absolute")
        )
        with torch.no_grad():
            image = normalise(read_image(record.image), IMAGENET)
            chances = network(ONE_SIZE.base_view(image))[0].sigmoid()[[0, 2]].numpy()
        assert relative.scores.max(axis=(1, 2)).tolist() == [255, 255]
        found = absolute.scores.max(axis=(1, 2))
        assert found.tolist() == np.rint(255 * chances).tolist()
        assert (found < 200).all(), "probabilities of a network that knows nothing"
        expected = relative.scores * chances[:, None, None]
        assert np.abs(absolute.scores - expected).max() <= 1

    def test_a_class_below_the_threshold_gets_no_pixel_and_is_counted(
        self, shapes, classifier_checkpoint, tmp_path
    ):
        settings = {
            "checkpoint": classifier_checkpoint, "multiscale": ONE_SIZE, "crf": None,
            "device": "cpu", "background": BackgroundConfig(threshold=0.97),
        }  # fmt: skip
        counts = {}
        for evidence in ("relative", "absolute"):
            make_pseudo_masks(shapes, "val", tmp_path / evidence, evidence=evidence, **settings)
            facts = json.loads((tmp_path / evidence / "manifest.json").read_text())
            counts[evidence] = sum(len(ids) for ids in facts["label_without_pixel"].values())
        assert counts["absolute"] > counts["relative"]
