"""The whole road over an object store gives the files that folders get."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import SHAPES
from tests.pipeline.conftest import ONE_SIZE
from wsss.cli import main
from wsss.data import to_path
from wsss.data.atomic import atomic_write_text
from wsss.pipeline.benchmark_attribution import benchmark_attribution
from wsss.pipeline.benchmarking.methods import MethodConfig
from wsss.pipeline.choose_threshold import choose_threshold
from wsss.pipeline.eval_miou import eval_miou
from wsss.pipeline.explain import explain
from wsss.pipeline.make_pseudo_masks import make_pseudo_masks
from wsss.pipeline.predict import predict
from wsss.pipeline.report import report
from wsss.pipeline.settings import parse_settings
from wsss.runs.folder import OutputFolder
from wsss.runs.settings import Settings, plain


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path there."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def make(data, output, **changes) -> Path:
    settings = {"split": "train", "multiscale": ONE_SIZE, "crf": None, "device": "cpu"}
    return make_pseudo_masks(data=data, output=output, workers=1, **(settings | changes))


def road(data, checkpoint: Path, output: Path) -> dict[str, bytes]:
    """Maps, a threshold of them, masks at it, both scored: every file, by its path."""
    make(data, output / "maps", checkpoint=checkpoint, save_scores=True, overlays=True)
    scores = output / "maps/scores"
    choose_threshold(data, "train", scores, output / "chosen")
    chosen = output / "chosen"
    make(data, output / "masks", scores_from=output / "maps", threshold_from=chosen)
    eval_miou(data, "train", output / "sweep", scores=scores)
    eval_miou(data, "train", output / "at", scores=scores, threshold=chosen, resamples=20)
    eval_miou(
        data, "train", output / "scored", predictions=output / "masks/masks",
        boundary=True, against=output / "at", voc_results=output / "voc", resamples=20,
    )  # fmt: skip
    return contents(output)


@pytest.fixture
def remote_checkpoint(classifier_checkpoint, store) -> Path:
    path = store / "cls/best.ckpt"
    path.write_bytes(classifier_checkpoint.read_bytes())
    return path


class TestRoad:
    def test_the_files_are_those_of_a_folder(
        self, shapes, remote_shapes, classifier_checkpoint, remote_checkpoint, store, tmp_path
    ):
        here = road(shapes, classifier_checkpoint, tmp_path / "run")
        there = road(remote_shapes, remote_checkpoint, store / "run")
        assert sorted(there) == sorted(here)
        assert len([name for name in here if name.endswith(".png")]) == 12 * 4
        names = {
            str(remote_checkpoint): str(classifier_checkpoint),
            str(remote_shapes.root): str(shapes.root),
            str(store / "run"): str(tmp_path / "run"),
        }
        for name, content in there.items():
            if not name.endswith(".tgz"):  # gzip notes the time
                for url, path in names.items():
                    content = content.replace(url.encode(), path.encode())
                assert content == here[name], name

    def test_a_rerun_makes_what_is_missing(self, remote_shapes, remote_checkpoint, store):
        output = store / "run"
        make(remote_shapes, output, checkpoint=remote_checkpoint)
        made = contents(output / "masks")
        (output / "masks/train_0003.png").unlink()
        make(remote_shapes, output, checkpoint=remote_checkpoint)
        facts = json.loads((output / "manifest.json").read_text())
        assert (facts["made_now"], facts["made_before"]) == (1, 11)
        assert contents(output / "masks") == made

    def test_other_settings_are_refused(self, remote_shapes, remote_checkpoint, store):
        make(remote_shapes, store / "run", checkpoint=remote_checkpoint, limit=1)
        with pytest.raises(ValueError, match=r"output: memory://.* another configuration.*method"):
            make(remote_shapes, store / "run", checkpoint=remote_checkpoint, method="cam")

    def test_a_missing_mask_and_a_missing_folder_are_named(self, remote_shapes, store):
        with pytest.raises(FileNotFoundError, match=f"no such folder: {store}/nothing"):
            eval_miou(remote_shapes, "train", store / "eval", predictions=store / "nothing")
        masks = remote_shapes.root / "SegmentationClass"
        (masks / "train_0005.png").unlink()
        with pytest.raises(ValueError, match=r"1 of 12 predictions .* example train_0005.png"):
            eval_miou(remote_shapes, "train", store / "eval", predictions=masks)

    def test_report(self, shapes, remote_shapes, store, tmp_path):
        for data, output in ((shapes, tmp_path / "run"), (remote_shapes, store / "run")):
            masks = data.root / data.masks
            eval_miou(data, "val", output / "eval", predictions=masks, resamples=20)
        here = report([tmp_path / "run"], tmp_path / "page").read_text()
        file = report([store / "run"], store / "page")
        assert str(file) == f"{store}/page/report.html"
        there = file.read_text()
        for url, path in ((remote_shapes.root, shapes.root), (store, tmp_path)):
            there = there.replace(str(url), str(path))
        # the gallery is named by the root's last part, which differs
        assert there.replace("(shapes)", f"({shapes.root.name})") == here

    @pytest.mark.slow
    def test_predict_and_explain(
        self, shapes, remote_shapes, segmenter_checkpoint, remote_checkpoint, store, tmp_path
    ):
        checkpoint = store / "seg/last.ckpt"
        checkpoint.write_bytes(segmenter_checkpoint.read_bytes())
        images = Path("JPEGImages")
        predict(segmenter_checkpoint, tmp_path / "p", images=shapes.root / images, overlays=True)
        output = remote_shapes.root / images / "predicted"  # inside: its own masks are no images
        for _ in range(2):
            predict(checkpoint, output, images=remote_shapes.root / images, overlays=True)
        facts = json.loads((output / "manifest.json").read_text())
        assert (facts["images"], facts["made_before"]) == (18, 18)
        for part in ("masks", "overlays"):
            assert contents(output / part) == contents(tmp_path / "p" / part)
        photograph = remote_shapes.root / images / "val_0000.jpg"
        picture = explain(photograph, remote_checkpoint, output=store / "why.png", device="cpu")
        assert picture.read_bytes()[:4] == b"\x89PNG"

    @pytest.mark.slow
    def test_benchmark_goes_on_from_parts_in_a_store(
        self, shapes, remote_shapes, classifier_checkpoint, remote_checkpoint, store, tmp_path
    ):
        settings = {
            "choose_split": "train", "report_split": "val", "multiscale": ONE_SIZE,
            "methods": {"CAM": MethodConfig(method="cam"), "TIF": MethodConfig()},
            "fidelity": None, "pictures": ["CAM", "TIF"], "timing_images": 1, "device": "cpu",
        }  # fmt: skip
        here, there = tmp_path / "run", store / "run"
        benchmark_attribution(shapes, classifier_checkpoint, output=here, **settings)
        benchmark_attribution(remote_shapes, remote_checkpoint, output=there, **settings)
        for name in ("pairs.csv", "curve.csv", "examples.png"):
            assert (there / name).read_bytes() == (here / name).read_bytes()
        first = contents(there)
        benchmark_attribution(remote_shapes, remote_checkpoint, output=there, **settings)
        assert contents(there) == first, "costs and parts were read, not measured again"


class TestSettings:
    def test_a_url_comes_out_of_a_parser_and_goes_back_as_text(self):
        given = {
            "data": {"root": "s3://bucket/voc", "masks": "gs://other/masks"},
            "split": "train",
            "output": "memory://runs/masks",
            "checkpoint": "s3://bucket/cls/best.ckpt",
            "threshold_from": "runs/chosen",
        }
        settings = parse_settings("make_pseudo_masks", given)
        assert settings["data"].root == to_path("s3://bucket/voc")
        assert settings["data"].at(settings["data"].masks) == to_path("gs://other/masks")
        assert settings["output"] == to_path("memory://runs/masks")
        assert settings["threshold_from"] == Path("runs/chosen")
        text = plain(settings)
        assert {key: text[key] for key in given if key != "data"} == {
            key: given[key] for key in given if key != "data"
        }
        assert text["data"]["root"] == "s3://bucket/voc"
        again = parse_settings("make_pseudo_masks", yaml.safe_load(yaml.safe_dump(text)))
        assert again == settings

    def test_numbers_and_paths_in_one_parameter(self):
        given = {"data": {"root": "."}, "split": "val", "output": "x", "scores": "memory://s"}
        for value, expected in ((0.25, 0.25), ("s3://b/t", to_path("s3://b/t")), ("t", Path("t"))):
            settings = parse_settings("eval_miou", {**given, "threshold": value})
            assert settings["threshold"] == expected

    def test_an_unknown_scheme_names_its_key(self):
        given = {"data": {"root": "s4://b"}, "split": "val", "output": "x", "scores": "s"}
        with pytest.raises(
            ValueError, match=r"(?s)data\.root.*s4://b: not a URL that fsspec knows"
        ):
            parse_settings("eval_miou", given)

    def test_training_names_the_key_that_must_be_local(self, store):
        for command in ("train_cls", "train_seg"):
            with pytest.raises(
                ValueError, match=f"output: {command} needs a local folder, got mem"
            ):
                OutputFolder(store, Settings(command, {}, {}), local=True)
        assert not store.exists()

    def test_an_output_that_went_through_pathlib_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ValueError, match=r"output: s3:/b/x was a URL"):
            OutputFolder(Path("s3://b/x"), Settings("eval_miou", {}, {}))
        assert not list(tmp_path.iterdir())


class TestCommandLine:
    def test_config_yaml_repeats_a_run(self, remote_shapes, store, tmp_path, capsys):
        masks = remote_shapes.root / "SegmentationClass"
        data = tmp_path / "data.yaml"
        facts = {"root": str(remote_shapes.root), "classes": SHAPES}
        data.write_text(yaml.safe_dump(facts, sort_keys=False))
        arguments = ["--data", str(data), "--split", "val", "--predictions", str(masks)]
        assert main(["eval_miou", *arguments, "--output", f"{store}/eval"]) == 0
        assert "100.00" in capsys.readouterr().out
        first = contents(store / "eval")
        config = tmp_path / "config.yaml"
        config.write_bytes(first["config.yaml"])
        assert yaml.safe_load(config.read_text())["data"]["root"] == str(remote_shapes.root)
        assert main(["eval_miou", "--config", str(config)]) == 0
        assert contents(store / "eval") == first
        assert main(["report", f"{store}/eval", "--output", f"{store}/page.html"]) == 0
        assert capsys.readouterr().out.endswith(f"wrote {store}/page.html\n")

    def test_steps_of_a_run_fill_in_urls(self, remote_shapes, remote_checkpoint, store, tmp_path):
        steps = [
            {
                "name": "masks", "command": "make_pseudo_masks", "split": "val",
                "checkpoint": str(remote_checkpoint), "crf": None, "workers": 1, "device": "cpu",
            },
            {
                "name": "eval", "command": "eval_miou", "split": "val",
                "predictions": "{output}/masks/masks", "resamples": 20,
            },
        ]  # fmt: skip
        config = tmp_path / "run.yaml"
        data = {"root": str(remote_shapes.root), "classes": SHAPES}
        config.write_text(yaml.safe_dump({"data": data, "steps": steps}, sort_keys=False))
        for _ in range(2):
            assert main(["run", "--config", str(config), "--output", f"{store}/run"]) == 0
        facts = json.loads((store / "run/eval/eval.json").read_text())
        assert facts["images"] == 6
        stamps = [path.parent.name for path in (store / "run").rglob("step.json")]
        assert sorted(stamps) == ["eval", "masks"]

    def test_file_urls(self, shapes, tmp_path, capsys):
        masks = (shapes.root / shapes.masks).as_uri()
        data = tmp_path / "data.yaml"
        data.write_text(yaml.safe_dump({"root": shapes.root.as_uri(), "classes": SHAPES}))
        output = (tmp_path / "eval").as_uri()
        words = ["--data", str(data), "--split", "val", "--predictions", masks]
        assert main(["eval_miou", *words, "--output", output]) == 0
        assert (tmp_path / "eval/eval.json").is_file()
        assert "100.00" in capsys.readouterr().out

    @pytest.mark.parametrize("missing", ["gcsfs", "s3fs"])
    def test_a_missing_package_is_an_error_without_a_traceback(self, missing, monkeypatch, capsys):
        monkeypatch.setitem(sys.modules, missing, None)
        url = {"gcsfs": "gs://b/x", "s3fs": "s3://b/x"}[missing]
        words = ["--data.root", url, "--split", "val", "--predictions", url, "--output", "x"]
        assert main(["eval_miou", *words]) == 1
        error = capsys.readouterr().err
        assert error.startswith("wsss eval_miou: error: ")
        assert missing in error

    def test_an_error_of_a_store_is_one_line(self, store, monkeypatch, capsys):
        theirs = type("NoCredentialsError", (Exception,), {"__module__": "botocore.exceptions"})

        def fail(*arguments, **keywords):
            raise theirs("Unable to locate credentials")

        monkeypatch.setattr(type(store), "is_dir", fail)
        words = ["--data.root", str(store), "--split", "val", "--output", "x"]
        assert main(["eval_miou", *words, "--predictions", str(store)]) == 1
        error = capsys.readouterr().err
        assert error == (
            "wsss eval_miou: error: the object store: "
            "NoCredentialsError('Unable to locate credentials')\n"
        )


def test_a_broken_image_is_named_and_the_others_are_made(remote_shapes, remote_checkpoint, store):
    broken = remote_shapes.root / "JPEGImages/train_0002.jpg"
    atomic_write_text(broken, "no image")
    (remote_shapes.root / "JPEGImages/train_0004.jpg").unlink()
    with pytest.raises(RuntimeError, match=f"2 of 12 images failed: .*{broken}"):
        make(remote_shapes, store / "run", checkpoint=remote_checkpoint)
    assert len(contents(store / "run/masks")) == 10
