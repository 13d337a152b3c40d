"""Segment-anything networks: tiny ones of transformers, held against transformers' own road."""

import json
import shutil
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.pipeline.conftest import IDS, manifest
from tests.tasks.tiny_sam import TINY, photograph, scores, transformers
from wsss.cli import command
from wsss.data import read_mask, write_scores
from wsss.data.scores import Scores, stored_size
from wsss.pipeline.refining import contents_of
from wsss.refinement import Context, LabelMaps, Picture, RefinementChain
from wsss.refinement.maps import Grid
from wsss.refinement.sam import SamConfig
from wsss.tasks.guides import Guides
from wsss.tasks.sam import checkpoint_sha256
from wsss.tasks.sam import everything as everything_module
from wsss.tasks.sam import network as network_module
from wsss.tasks.sam.everything import everything, grid_places
from wsss.tasks.sam.network import SamNetworks, load_sam

CPU = torch.device("cpu")
LOOSE = Grid(points_per_side=6, predicted_iou=0.3, stability=0.2)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A checkpoint of each kind, whose masks have parts and whose expectations differ."""
    found = {}
    for kind, make in TINY.items():
        torch.manual_seed(1)
        model, processor = make()
        with torch.no_grad():
            for weights in model.parameters():
                if weights.dim() > 1:
                    weights.normal_(0, 0.5)
        found[kind] = tmp_path_factory.mktemp(kind)
        model.save_pretrained(found[kind])
        processor.save_pretrained(found[kind])
    return found


@pytest.fixture(params=list(TINY))
def folder(request, folders):
    """Each checkpoint in turn."""
    return folders[request.param]


@pytest.fixture
def looks(monkeypatch):
    """Photographs that networks were shown."""
    seen = []
    see = network_module.SamNetwork.see

    def counted(self, image):
        seen.append(image.shape)
        return see(self, image)

    monkeypatch.setattr(network_module.SamNetwork, "see", counted)
    return seen


class TestAgainstTransformers:
    """Its processors and its pipeline, which share no line with what is tested."""

    @torch.no_grad()
    def test_masks_at_a_point(self, folder):
        """Each point alone, from the photograph itself, by the processor of points."""
        image = photograph()
        places = np.array([[0, 0], [59, 79], [30, 7], [12, 70]])
        model = transformers.AutoModelForMaskGeneration.from_pretrained(folder).eval()
        processor = transformers.AutoProcessor.from_pretrained(folder)
        (found,) = load_sam(folder, CPU).see(image)(places)
        assert found.masks.shape == (4, 3, 60, 80)
        assert 0.05 < found.masks.mean() < 0.95
        for number, (row, column) in enumerate(places.tolist()):
            inputs = processor(image, input_points=[[[[column, row]]]], return_tensors="pt")
            inputs["input_points"] = inputs["input_points"].float().reshape(1, 1, 1, 2)
            known = {k: v for k, v in inputs.items() if k in ("pixel_values", "input_points")}
            seen = model(**known)
            sizes = {k: v for k, v in inputs.items() if k == "reshaped_input_sizes"}
            (masks,) = processor.image_processor.post_process_masks(
                seen.pred_masks, inputs["original_sizes"], **sizes
            )
            assert (found.masks[number] == masks[0].numpy()).mean() > 0.999  # signs of about 0
            np.testing.assert_allclose(found.confidences[number], seen.iou_scores[0, 0], atol=1e-5)

    @pytest.mark.parametrize("box_iou", [0.7, 1.0])
    @pytest.mark.parametrize(
        ("kind", "size"),
        [("sam", (60, 80)), ("sam", (64, 64)), ("sam2", (64, 64)), ("sam3", (64, 64))],
    )
    def test_masks_of_everything(self, folders, kind, size, box_iou, monkeypatch):
        """SAM 2 and 3 on a square: on other sizes the grid of transformers 5.24 misses a part.

        It is SAM's there, whose photographs are padded, where these squeeze them.
        All masks of a network of noise reach over the whole photograph: 0.7 leaves one of them.
        """
        folder = folders[kind]
        image = photograph(size)
        generate = transformers.pipeline("mask-generation", model=str(folder))
        expected = generate(
            Image.fromarray(image), points_per_crop=6, crops_nms_thresh=box_iou,
            pred_iou_thresh=LOOSE.predicted_iou, stability_score_thresh=LOOSE.stability,
        )["masks"]  # fmt: skip
        monkeypatch.setattr(everything_module, "BOX_IOU", box_iou)
        found = everything(load_sam(folder, CPU).see(image), LOOSE)
        expected = [mask.numpy().astype(bool) for mask in expected if mask.any()]
        assert len(found) == len(expected) > (3 if box_iou == 1 else 0)
        for pixels, mask in zip(found, expected, strict=True):
            assert len(np.setxor1d(pixels, np.flatnonzero(mask))) < 5


class TestEverything:
    def test_the_grid_covers_the_photograph(self):
        assert grid_places(2, (10, 40)).tolist() == [[2.5, 10], [2.5, 30], [7.5, 10], [7.5, 30]]

    def test_rules_on_planted_logits(self):
        """Not expected to be good, not stable, empty, a repetition; and two that are kept."""
        logits = torch.full((2, 3, 8, 10), -5.0)
        logits[0, 0, 1:3, 1:4] = 5  # kept
        logits[0, 1, 1:3, 1:4] = 5  # the same, and less is expected of it
        logits[0, 2, 4:6, 4:9] = 5  # 10 of 12 pixels are above 1
        logits[0, 2, 6, 4:6] = 0.5
        logits[1, 0, :, :] = 0.5  # all of it, and nothing is above 1
        logits[1, 2, 0, 0] = 5  # little is expected of it
        confidences = torch.tensor([[0.91, 0.9, 0.95], [1.0, 1.0, 0.87]])
        seen = SimpleNamespace(
            size=(8, 10), logits=lambda places: iter([(logits[:1], confidences[:1]),
                                                      (logits[1:], confidences[1:])])
        )  # fmt: skip

        def found(stability):
            return [one.tolist() for one in everything(seen, Grid(1, 0.88, stability))]

        first = [11, 12, 13, 21, 22, 23]
        second = [44, 45, 46, 47, 48, 54, 55, 56, 57, 58, 64, 65]
        assert found(0.8) == [second, first]
        assert found(0.9) == [first]
        assert found(0.0) == [list(range(80)), second, first]

    def test_none(self, folders):
        seen = load_sam(folders["sam"], CPU).see(photograph((7, 9)))
        assert everything(seen, Grid(3, 1.0, 1.0)) == []

    def test_batches_do_not_matter(self, folder, monkeypatch):
        network = load_sam(folder, CPU)
        monkeypatch.setattr(everything_module, "BOX_IOU", 1.0)
        together = everything(network.see(photograph()), LOOSE)
        monkeypatch.setattr(network_module, "_BYTES", 1)
        parts = list(network.see(photograph())(np.zeros((3, 2))))
        assert [part.masks.shape for part in parts] == [(1, 3, 60, 80)] * 3
        alone = everything(network.see(photograph()), LOOSE)
        assert len(together) == len(alone)
        for one, other in zip(together, alone, strict=True):
            assert len(np.setxor1d(one, other)) < 5


class TestStep:
    @pytest.mark.parametrize("prompts", ["automatic", "peaks"])
    @pytest.mark.parametrize("size", [(60, 80), (1, 9), (1, 1)])
    def test_it_runs_on_each_network(self, folder, prompts, size):
        rules = {} if prompts == "peaks" else dict(zip(Grid._fields, LOOSE))
        chain = RefinementChain((SamConfig(folder, prompts=prompts, **rules),))
        values = scores(size)
        for marginals in (False, True):
            given = values / values.sum(axis=0) if marginals else values
            refine = chain.prepare([Picture(photograph(size))], Context("cpu", Guides()))
            (found,) = refine([LabelMaps(given, marginals)])
            assert (found.values.shape, found.values.dtype) == (values.shape, np.float32)
            assert found.marginals == marginals
            np.testing.assert_allclose(np.sort(found.values, 0), np.sort(given, 0), rtol=1e-6)
            changed = (found.values.argmax(axis=0) != given.argmax(axis=0)).mean()
            assert size != (60, 80) or changed > 0

    def test_threads_share_a_network(self, folders, looks):
        guides = Guides()
        images = [photograph(seed=seed) for seed in range(4)]

        def ask(image):
            return guides.segments(image, folders["sam2"], LOOSE, None)

        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(ask, images))
        for image, segments in zip(images, found, strict=True):
            alone = everything(load_sam(folders["sam2"], CPU).see(image), LOOSE)
            assert [one.tolist() for one in segments] == [one.tolist() for one in alone]


class TestCache:
    def test_masks_are_read_where_nothing_changed(self, folders, tmp_path, looks):
        image, cache = photograph(), tmp_path / "cache"

        def ask(image=image, checkpoint=folders["sam"], grid=LOOSE):
            found = Guides().segments(image, checkpoint, grid, cache)
            return [one.tolist() for one in found], len(looks)

        first, asked = ask()
        assert (len(first) > 0, asked) == (True, 1)
        assert ask() == (first, 1)
        other = image.copy()
        other[0, 0, 0] ^= 1
        assert ask(image=other)[1] == 2
        assert ask(image=image.reshape(80, 60, 3))[1] == 3
        assert ask(grid=LOOSE._replace(points_per_side=5))[1] == 4
        assert ask(grid=LOOSE._replace(stability=0.99))[1] == 5
        assert ask(checkpoint=folders["sam2"])[1] == 6
        assert ask() == (first, 6)
        assert len(list(cache.iterdir())) == 6
        assert all(file.suffix == ".npz" for file in cache.iterdir())

    def test_no_mask_at_all_is_kept_too(self, folders, tmp_path, looks):
        for _ in range(2):
            assert Guides().segments(photograph(), folders["sam"], Grid(2, 1, 1), tmp_path) == []
        assert len(looks) == 1

    @pytest.mark.parametrize("content", [b"", b"PK no archive", "half"])
    def test_a_damaged_file_is_made_again(self, folders, tmp_path, looks, content):
        first = Guides().segments(photograph(), folders["sam"], LOOSE, tmp_path)
        (file,) = tmp_path.iterdir()
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2] if content == "half" else content)
        again = Guides().segments(photograph(), folders["sam"], LOOSE, tmp_path)
        assert [one.tolist() for one in again] == [one.tolist() for one in first]
        assert len(looks) == 2
        Guides().segments(photograph(), folders["sam"], LOOSE, tmp_path)
        assert len(looks) == 2

    def test_other_weights_are_another_network(self, folders, tmp_path):
        digest = checkpoint_sha256(folders["sam"])
        copied = shutil.copytree(folders["sam"], tmp_path / "copied")
        (copied / "README.md").write_text("of no weight")
        assert checkpoint_sha256(copied) == digest
        chain = RefinementChain((SamConfig(copied),))
        assert contents_of(chain) == {"refine_1_checkpoint_sha256": digest}
        weights = load_file(copied / "model.safetensors")
        weights["mask_decoder.iou_token.weight"] += 1
        save_file(weights, copied / "model.safetensors", {"format": "pt"})
        changed = checkpoint_sha256(copied)
        assert changed != digest
        (copied / "preprocessor_config.json").write_text("{}")
        assert checkpoint_sha256(copied) not in (digest, changed)


class TestCheckpoints:
    def test_a_folder_is_loaded_without_the_network(self, folder, monkeypatch):
        def refuse(*arguments, **keywords):
            raise AssertionError("the network was asked")

        monkeypatch.setattr(socket.socket, "connect", refuse)
        monkeypatch.setattr(socket, "getaddrinfo", refuse)
        assert load_sam(folder, CPU).digest == checkpoint_sha256(folder)

    def test_the_layouts_of_the_hub_s_files(self, folders, tmp_path):
        """Those of SAM 2 and 3 are of video networks, of which the one for images is a part."""
        for kind, more in {"sam2": "", "sam3": "tracker_model."}.items():
            video = shutil.copytree(folders[kind], tmp_path / kind)
            config = json.loads((video / "config.json").read_text())
            if kind == "sam3":
                tracker = {**config, "model_type": "sam3_tracker_video", "image_size": 56}
                config = {"tracker_config": tracker}
            (video / "config.json").write_text(
                json.dumps({**config, "model_type": f"{kind}_video"})
            )
            weights = load_file(video / "model.safetensors")
            assert all(
                key.startswith((more, "detector_model.", "tracker_neck.")) for key in weights
            )
            weights[f"{more}memory_encoder.projection.weight"] = torch.ones(2, 2)
            save_file(weights, video / "model.safetensors", {"format": "pt"})
            found, expected = (
                next(load_sam(one, CPU).see(photograph())(np.array([[7, 9]])))
                for one in (video, folders[kind])
            )
            assert np.array_equal(found.masks, expected.masks)
            assert np.array_equal(found.confidences, expected.confidences)

    def test_what_is_not_there(self, tmp_path, folders):
        with pytest.raises(FileNotFoundError, match=r"sam\.checkpoint: no such folder: .*nowhere"):
            contents_of(RefinementChain((SamConfig(tmp_path / "nowhere"),)))
        with pytest.raises(FileNotFoundError, match=r"sam\.checkpoint: no config\.json in"):
            checkpoint_sha256(tmp_path)
        shutil.copy(folders["sam"] / "config.json", tmp_path)
        with pytest.raises(FileNotFoundError, match=r"sam\.checkpoint: no weights"):
            checkpoint_sha256(tmp_path)
        with pytest.raises(ValueError, match=r"sam\.checkpoint: expected a folder on this machine"):
            checkpoint_sha256("memory://bucket/sam")

    @pytest.mark.parametrize(
        ("config", "message"),
        [
            ('{"model_type": "bert"}', r"expected a segment-anything network .* 'bert' in .*other"),
            ('{"hidden": 3}', r"found model_type None in .*other"),
            ("[1]", r"found model_type None"),
            ("{", r"config\.json is damaged"),
        ],
    )
    def test_what_is_no_sam(self, folders, tmp_path, config, message):
        other = shutil.copytree(folders["sam"], tmp_path / "other")
        (other / "config.json").write_text(config)
        for ask in (checkpoint_sha256, SamNetworks(CPU).__getitem__):
            with pytest.raises(ValueError, match=rf"(?s)sam\.checkpoint: .*{message}"):
                ask(other)

    def test_weights_that_do_not_fit(self, folders, tmp_path):
        other = shutil.copytree(folders["sam"], tmp_path / "other")
        weights = load_file(other / "model.safetensors")
        part = {key: value for key, value in weights.items() if "iou_token" not in key}
        save_file(part, other / "model.safetensors", {"format": "pt"})
        with pytest.raises(ValueError, match=r"lack 1 of the network's, such as .*iou_token"):
            load_sam(other, CPU)
        (other / "model.safetensors").write_bytes(b"no tensors")
        with pytest.raises(ValueError, match=r"sam\.checkpoint: cannot load .*other"):
            load_sam(other, CPU)

    def test_a_name_of_the_hub(self, folders, monkeypatch):
        asked = []

        def downloaded(name, allow_patterns):
            asked.append((name, "*.safetensors" in allow_patterns))
            return str(folders["sam"])

        monkeypatch.setattr(huggingface_hub, "snapshot_download", downloaded)
        assert checkpoint_sha256("facebook/sam-vit-base") == checkpoint_sha256(folders["sam"])
        assert asked == [("facebook/sam-vit-base", True)]

        def refused(name, allow_patterns):
            raise huggingface_hub.errors.LocalEntryNotFoundError("no connection")

        monkeypatch.setattr(huggingface_hub, "snapshot_download", refused)
        with pytest.raises(
            FileNotFoundError, match=r"nothing of that name from the hub: a/b: no c"
        ):
            checkpoint_sha256("a/b")

    def test_a_missing_library_is_explained(self, folders, monkeypatch):
        monkeypatch.setitem(sys.modules, "transformers", None)
        step = RefinementChain((SamConfig(folders["sam"]),))
        with pytest.raises(ImportError, match=r"sam needs transformers: pip install 'wsss\[sam\]'"):
            step.prepare([Picture(photograph())], Context(networks=Guides()))


class TestCommand:
    @pytest.fixture
    def words(self, shapes, folders, tmp_path):
        """A command line that refines stored scores: 1 near the image's middle."""
        for name in IDS[:2]:
            truth = read_mask(shapes.root / shapes.masks / f"{name}.png")
            classes = np.setdiff1d(truth, [0, 255]).astype(np.uint8)
            maps = np.full((len(classes), *stored_size(truth.shape)), 51, np.uint8)
            maps[:, 6:12, 6:12] = 255
            write_scores(tmp_path / f"scores/{name}.npz", Scores(classes, maps, truth.shape))

        def given(output, step):
            return [
                "--data.root", str(shapes.root), "--data.classes", json.dumps(shapes.classes),
                "--split", "train", "--scores_from", str(tmp_path / "scores"), "--limit", "2",
                "--workers", "2", "--device", "cpu", "--output", str(tmp_path / output),
                "--refine", json.dumps([{"kind": "sam", **step}]),
            ]  # fmt: skip

        return given

    def test_masks_again_from_the_cache_and_none_for_another_network(
        self, folders, words, tmp_path, looks, capsys
    ):
        copied = shutil.copytree(folders["sam2"], tmp_path / "copied")
        step = {"checkpoint": str(copied), "cache": str(tmp_path / "cache"), **LOOSE._asdict()}
        for output in ("run", "again"):
            assert command("make_pseudo_masks", words(output, step)) == 0
            assert len(looks) == 2
        for path in (tmp_path / "run/masks").iterdir():
            assert path.read_bytes() == (tmp_path / "again/masks" / path.name).read_bytes()
        digest = checkpoint_sha256(copied)
        assert manifest(tmp_path / "run")["identity"]["refine_1_checkpoint_sha256"] == digest
        shutil.copy(folders["sam2"] / "config.json", copied / "processor_config.json")
        assert command("make_pseudo_masks", words("run", step)) != 0
        assert "refine_1_checkpoint_sha256" in capsys.readouterr().err

    def test_what_is_no_network_is_refused_before_any_image(self, words, tmp_path, capsys):
        step = {"checkpoint": str(tmp_path / "none"), "prompts": "peaks"}
        assert command("make_pseudo_masks", words("run", step)) != 0
        assert "sam.checkpoint: no such folder" in capsys.readouterr().err
        assert not (tmp_path / "run/masks").exists()
