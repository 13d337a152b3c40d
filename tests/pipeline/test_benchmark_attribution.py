"""The benchmark of attributions: protocol, going on where it stopped, tables and pictures."""

import csv
import dataclasses
import json
import logging
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import SHAPES
from wsss.attribution import AttributionConfig, MultiScaleConfig, TIFConfig, attribute_multiscale
from wsss.cli import command
from wsss.data import DataConfig, LabelMap, load_records, read_image, read_mask
from wsss.data.transforms import normalise
from wsss.metrics import ThresholdSweep
from wsss.metrics.attribution import energy_pointing_game, spectrum
from wsss.normalisation import IMAGENET
from wsss.pipeline.benchmark_attribution import benchmark_attribution
from wsss.pipeline.benchmarking import measuring
from wsss.pipeline.benchmarking.fidelity import FidelityConfig
from wsss.pipeline.benchmarking.methods import MethodConfig
from wsss.pipeline.benchmarking.plausibility import compared
from wsss.refinement import normalise_maps
from wsss.tasks.checkpoint import load_classifier

ONE = MultiScaleConfig(scales=(1.0,), flip=False)
METHODS = {
    "CAM": MethodConfig(method="cam"),
    "TIF": MethodConfig(vary={"tif.alpha": [0.0, 0.3], "layers": [1, 3]}),
}
CANDIDATES = [
    "CAM", "TIF, alpha 0.0, layers 1", "TIF, alpha 0.0, layers 3", "TIF, alpha 0.3, layers 1",
    "TIF, alpha 0.3, layers 3",
]  # fmt: skip


@pytest.fixture(scope="module")
def arguments(shapes, classifier_checkpoint, tmp_path_factory):
    return {
        "data": shapes,
        "checkpoint": classifier_checkpoint,
        "choose_split": "train",
        "report_split": "val",
        "methods": METHODS,
        "multiscale": ONE,
        "fidelity": FidelityConfig(images=2, long_side=48, steps=3, fractions=(0.5,)),
        "timing_images": 1,
        "device": "cpu",
    }


@pytest.fixture(scope="module")
def finished(arguments, tmp_path_factory):
    output = tmp_path_factory.mktemp("benchmark") / "out"
    benchmark_attribution(**arguments, output=output, pictures=["CAM", "TIF"])
    return output


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_row_for_each_candidate_and_the_best_of_each_method_marked(finished):
    table = rows(finished / "results.csv")
    assert [row["way"] for row in table] == CANDIDATES
    cam, tif = [row for row in table if row["chosen"] == "True"]
    assert cam["way"] == "CAM"
    # of two that are equal to five digits, either may be the best
    assert tif["miou_choose"] == max(row["miou_choose"] for row in table[1:])
    assert json.loads((finished / "results.json").read_text())[0]["way"] == "CAM"
    for row in table:
        assert 0 <= float(row["miou"]) <= float(row["miou_oracle"]) <= 1
        assert float(row["cost"]) > 0


def test_thresholds_come_from_the_other_list(finished):
    curves = {}
    for row in rows(finished / "curve.csv"):
        curves.setdefault((row["list"], row["way"]), []).append(float(row["miou"]))
    for row in rows(finished / "results.csv"):
        best = round(100 * float(row["threshold"]))
        # of thresholds that are equal to the digits of the file, any may be the best
        assert curves["choose", row["way"]][best] == max(curves["choose", row["way"]])
        assert float(row["miou_choose"]) == curves["choose", row["way"]][best]
        assert float(row["miou"]) == pytest.approx(curves["report", row["way"]][best], abs=1e-5)


def test_scores_are_those_of_the_methods_themselves(finished, arguments):
    """Made again with the public functions, one method and one image at a time."""
    data = arguments["data"]
    model, _ = load_classifier(arguments["checkpoint"])
    label_map = LabelMap(list(data.classes.values()))
    sweep = ThresholdSweep(label_map.num_labels)
    energies = []
    for record in load_records(data, "val", with_labels=True):
        labels = torch.from_numpy(record.labels)
        maps = attribute_multiscale(
            model, normalise(read_image(record.image), IMAGENET), labels, ONE,
            AttributionConfig(tif=TIFConfig(alpha=0.3), layers=1),
        )  # fmt: skip
        truth = label_map.to_index(read_mask(record.mask), record.mask)
        present = labels.nonzero()[:, 0]
        sweep.update(present.numpy() + 1, normalise_maps(maps.numpy()), truth)
        masks = torch.from_numpy(truth)[None] == present[:, None, None] + 1
        scored = torch.from_numpy(truth != 255)[None].expand_as(masks)
        energies += energy_pointing_game(maps, masks, scored).tolist()
    row = rows(finished / "results.csv")[3]
    assert float(row["miou_oracle"]) == pytest.approx(sweep.miou().max(), abs=1e-5)
    assert float(row["energy"]) == pytest.approx(np.mean(energies), abs=1e-5)


def test_objects_by_size(finished):
    table = [row for row in rows(finished / "pairs.csv") if row["area"]]
    for row in rows(finished / "sizes.csv"):
        own = sorted(
            (one for one in table if one["way"] == row["way"]), key=lambda one: float(one["area"])
        )
        place = ("small", "middle", "large").index(row["size"])
        part = np.array_split(np.arange(len(own)), 3)[place]
        assert int(row["pairs"]) == len(part)
        for name in ("area", "energy", "pointing_15"):
            expected = np.mean([float(own[i][name]) for i in part])
            assert float(row[name]) == pytest.approx(expected, abs=1e-4)
    areas = [float(row["area"]) for row in rows(finished / "sizes.csv")][:3]
    assert areas == sorted(areas)
    assert areas[0] < areas[2]


def test_fidelity_is_measured_on_the_first_images(finished, arguments):
    ids = [r.image_id for r in load_records(arguments["data"], "val", with_labels=False)]
    table = rows(finished / "pairs.csv")
    for name in ("insertion", "deletion", "drop", "increase", "gain", "morf", "lerf"):
        assert {row["image"] for row in table if row[name]} == set(ids[:2])
        assert all(0 <= float(row[name]) <= 1 for row in table if row[name])


def test_pictures(finished):
    for name in ("figure.png", "examples.png"):
        with Image.open(finished / name) as picture:
            assert np.asarray(picture).std() > 10, name
            assert picture.width > 300


def noted_images(monkeypatch, stop_after: int | None = None) -> list[str]:
    """Ids of the images that are measured from now on; after so many, an interruption."""
    read = measuring._annotated
    ids = []

    def noted(explainer, one, place, label_map):
        if len(ids) == stop_after:
            raise KeyboardInterrupt
        ids.append(one.record.image_id)
        return read(explainer, one, place, label_map)

    monkeypatch.setattr(measuring, "_annotated", noted)
    return ids


def without_cost(path):
    return [{k: v for k, v in row.items() if k != "cost"} for row in rows(path)]


@pytest.mark.slow
def test_an_interrupted_run_goes_on(finished, arguments, tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "_PART", 4)
    with monkeypatch.context() as until:
        seen = noted_images(until, stop_after=6)
        with pytest.raises(KeyboardInterrupt):
            benchmark_attribution(**arguments, output=tmp_path / "out")
    assert not (tmp_path / "out/results.csv").exists()
    again = noted_images(monkeypatch)
    benchmark_attribution(**arguments, output=tmp_path / "out")
    assert not set(again) & set(seen[:4]), "the first part was there"
    assert len(again) == 12 - 4 + 6
    assert without_cost(tmp_path / "out/results.csv") == without_cost(finished / "results.csv")


def as_of_version_0_1(folder) -> None:
    """Turn a folder into one of the version whose key was `families`."""
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("\nmethods:", "\nfamilies:"))
    facts = json.loads((folder / "manifest.json").read_text())
    facts["config"] = {
        "families" if key == "methods" else key: value for key, value in facts["config"].items()
    }
    (folder / "manifest.json").write_text(json.dumps(facts))


@pytest.mark.slow
def test_a_run_of_before_the_key_had_its_name_goes_on(finished, arguments, tmp_path, monkeypatch):
    folder = tmp_path / "out"
    shutil.copytree(finished, folder)
    as_of_version_0_1(folder)
    (folder / "results.csv").unlink()
    (folder / "parts/val/00000.npz").unlink()
    again = noted_images(monkeypatch)
    benchmark_attribution(**arguments, output=folder)
    assert {i.split("_")[0] for i in again} == {"val"}, "only what was missing is measured"
    assert (folder / "results.csv").read_bytes() == (finished / "results.csv").read_bytes()
    assert "methods" in json.loads((folder / "manifest.json").read_text())["config"]


def test_other_methods_than_those_of_before_are_refused(finished, arguments, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(finished, folder)
    as_of_version_0_1(folder)
    changed = {**arguments, "methods": {**METHODS, "CAM": MethodConfig(method="gradcam")}}
    with pytest.raises(ValueError, match=r"methods\.CAM\.method: cam -> gradcam"):
        benchmark_attribution(**changed, output=folder)


def test_its_config_yaml_of_before_repeats_it(finished, tmp_path, monkeypatch, caplog):
    folder = tmp_path / "out"
    shutil.copytree(finished, folder)
    as_of_version_0_1(folder)
    assert "\nfamilies:" in (folder / "config.yaml").read_text()
    words = ["--config", str(folder / "config.yaml"), "--output", str(folder)]
    again = noted_images(monkeypatch)
    with caplog.at_level(logging.WARNING):
        assert command("benchmark_attribution", words) == 0
    assert not again, "everything was there"
    assert caplog.text.count("benchmark_attribution: families is now called methods") == 1


def test_a_damaged_part_is_named(finished, arguments, tmp_path):
    shutil.copytree(finished, tmp_path / "out")
    part = tmp_path / "out/parts/val/00000.npz"
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"val/00000\.npz: damaged .*delete it"):
        benchmark_attribution(**arguments, output=tmp_path / "out")


@pytest.mark.slow
def test_images_without_a_class_are_counted_and_change_nothing_else(
    arguments, tmp_path, shapes, monkeypatch
):
    """Alone in their part, and among the images of the fidelity metrics."""
    monkeypatch.setattr(measuring, "_PART", 1)
    root = tmp_path / "data"
    shutil.copytree(shapes.root, root)
    labels = root / "labels.csv"
    first = load_records(shapes, "val", with_labels=False)[0].image_id
    lines = labels.read_text().splitlines()
    labels.write_text("\n".join(f"{first}," if x.startswith(f"{first},") else x for x in lines))
    changed = {**arguments, "data": dataclasses.replace(shapes, root=root)}
    benchmark_attribution(**changed, output=tmp_path / "out")
    table = rows(tmp_path / "out/pairs.csv")
    assert first not in {row["image"] for row in table}
    assert rows(tmp_path / "out/results.csv")[0]["insertion"]
    with pytest.raises(ValueError, match="lists_sha256"):
        benchmark_attribution(**{**changed, "data": shapes}, output=tmp_path / "out")


def test_a_label_without_a_pixel_is_left_out_of_the_means(finished, arguments):
    maps, masks = torch.rand(2, 20, 30), torch.zeros(2, 20, 30, dtype=torch.bool)
    masks[0, 5:9, 3:12] = True
    values = compared(maps, masks, torch.ones_like(masks), spectrum(masks))
    for name, value in values.items():
        assert bool(value[1].isnan()) == (name not in ("gini", "low", "middle", "high")), name
        assert not value[0].isnan()


def test_one_list_for_both_is_refused(arguments, tmp_path):
    with pytest.raises(ValueError, match="both 'train'"):
        benchmark_attribution(**{**arguments, "report_split": "train"}, output=tmp_path / "out")


def test_an_image_on_both_lists_is_refused(arguments, tmp_path, shapes):
    root = tmp_path / "data"
    shutil.copytree(shapes.root, root)
    lists = root / "ImageSets/Segmentation"
    first = (lists / "train.txt").read_text().split()[0]
    with (lists / "val.txt").open("a") as file:
        file.write(f"{first}\n")
    data = dataclasses.replace(shapes, root=root)
    with pytest.raises(ValueError, match=f"1 images are on both lists.*{first}"):
        benchmark_attribution(**{**arguments, "data": data}, output=tmp_path / "out")


def test_pictures_of_an_unknown_method_are_refused(arguments, tmp_path):
    with pytest.raises(ValueError, match="no method 'Grad-CAM'; expected CAM, TIF"):
        benchmark_attribution(**arguments, output=tmp_path / "out", pictures=["Grad-CAM"])


def test_from_yaml_by_the_command_line(arguments, tmp_path):
    data: DataConfig = arguments["data"]
    (tmp_path / "b.yaml").write_text(
        f"""
data: {{root: {data.root}, classes: {json.dumps(SHAPES)}}}
choose_split: train
report_split: val
limit: 2
multiscale: {{scales: [1.0], flip: false}}
fidelity: null
methods:
  LayerCAM: {{method: layercam}}
  "TIF: guided": {{method: tif, gradient: {{kind: guided}}, vary: {{tif.weights: [one]}}}}
"""
    )
    words = ["--config", str(tmp_path / "b.yaml"), "--checkpoint", str(arguments["checkpoint"])]
    assert command("benchmark_attribution", [*words, "--output", str(tmp_path / "out")]) == 0
    table = rows(tmp_path / "out/results.csv")
    assert [row["way"] for row in table] == ["LayerCAM", "TIF: guided, weights one"]
    assert table[0]["insertion"] == ""
