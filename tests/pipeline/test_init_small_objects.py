"""wsss init where images have no class, or the user says how small objects are."""

import re
from pathlib import Path

import pytest
import yaml

from tests.pipeline.test_init import draw
from wsss.pipeline.init import init
from wsss.pipeline.settings import parse_settings


def folder(tmp_path, normal: int, defects: int = 16) -> Path:
    draw(tmp_path, *[f"d{i}.png" for i in range(defects)], *[f"n{i}.png" for i in range(normal)])
    rows = [f"d{i}.png,{('crack', 'hole')[i % 2]}" for i in range(defects)]
    rows += [f"n{i}.png," for i in range(normal)]
    (tmp_path / "labels.csv").write_text("\n".join(["image,labels", *rows]))
    return tmp_path


def steps(place: Path, **settings) -> tuple[dict[str, dict], str]:
    text = init(place, **settings)
    run = yaml.safe_load((place / "wsss/run.yaml").read_text(encoding="utf-8"))
    for step in run["steps"]:
        given = {k: v for k, v in step.items() if k not in ("name", "command")}
        parse_settings(step["command"], {"data": {"root": "x"}, "output": "o", **given})
    return {step["name"]: step for step in run["steps"]}, text


def test_normal_images_make_it_the_recipe_for_defects_and_it_says_why(tmp_path):
    found, text = steps(folder(tmp_path, normal=10))
    assert found["classifier"]["pooling"] == "lse"
    assert found["classifier"]["stages"][0] in ("features.3", "layer1")
    # images of 80 pixels, at twice their size
    assert found["classifier"]["augment"]["long_side"] == [160, 160]
    kinds = [one["kind"] for one in found["masks"]["refine"]]
    assert kinds == ["normal", "crf"]
    assert found["masks"]["refine"][1]["bilateral_sxy"] == 15
    assert re.search(r"objects from 10 pixels on, since \d of \d+ training images have no", text)
    written = (tmp_path / "wsss/run.yaml").read_text()
    assert "the size at which images are seen (160 pixels" in written


def test_the_smallest_object_sets_size_and_kernel(tmp_path):
    found, _ = steps(folder(tmp_path, normal=0), smallest_object=5)
    assert found["classifier"]["augment"]["long_side"] == [320, 320]
    assert [one["kind"] for one in found["masks"]["refine"]] == ["crf"]
    assert found["masks"]["refine"][0]["bilateral_sxy"] == 8
    assert "normal" not in found


@pytest.mark.parametrize(("normal", "share"), [(16, None), (60, 0.5)])
def test_where_most_images_are_normal_half_of_a_batch_is(tmp_path, normal, share):
    found, _ = steps(folder(tmp_path, normal=normal))
    assert found["classifier"].get("normal_share") == share


def test_large_objects_are_photographs_whatever_is_normal(tmp_path):
    found, text = steps(folder(tmp_path, normal=10), smallest_object=100)
    assert "pooling" not in found["classifier"]
    assert "recipe" not in text


def test_a_few_images_without_a_class_change_nothing(tmp_path):
    found, _ = steps(folder(tmp_path, normal=1))
    assert "pooling" not in found["classifier"]


def test_less_than_two_pixels_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="smallest_object: expected at least 2 pixels, got 1"):
        init(folder(tmp_path, normal=0), smallest_object=1)
    assert not (tmp_path / "wsss").exists()
