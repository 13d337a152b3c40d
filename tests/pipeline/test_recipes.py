"""Recipes of init: what each writes, what auto takes, and the road of the frozen network."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tests.models.test_hub import keep_in_hub
from tests.pipeline.test_init import draw
from wsss.data import write_mask
from wsss.pipeline.init import init
from wsss.pipeline.recipes import choice
from wsss.pipeline.recipes.foundation import NETWORK
from wsss.pipeline.settings import parse_settings


def photographs(root: Path, count: int = 5, *, masks: bool = False) -> None:
    names = [f"{name}/{i}" for name in ("cat", "owl") for i in range(count)]
    draw(root, *[f"{name}.jpg" for name in names])
    for name in names if masks else ():
        write_mask(root / f"SegmentationClass/{name}.png", np.zeros((60, 80), np.uint8))


def steps_of(root: Path) -> dict[str, dict]:
    steps = yaml.safe_load((root / "wsss/run.yaml").read_text())["steps"]
    return {step["name"]: step for step in steps}


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("recipe", ["cnn", "dino", "clip", "auto"])
def test_each_recipe_has_settings_that_its_commands_take(tmp_path, recipe, masks):
    photographs(tmp_path, masks=masks)
    init(tmp_path, recipe=recipe)
    steps = steps_of(tmp_path)
    assert ("score_masks" in steps) == masks
    made = {"x"}
    for name, step in steps.items():
        settings = json.loads(json.dumps(step).replace("{output}", "x"))
        del settings["name"]
        command = settings.pop("command")
        settings["output"] = "x"
        if command != "report":
            settings["data"] = {"root": str(tmp_path), "classes": {"cat": 1, "owl": 2}}
        parse_settings(command, settings)
        # what a step takes of others was made by one before
        assert set(re.findall(r"\{output\}/(\w+)", json.dumps(step))) <= made | {"cache"}
        made.add(name)


def test_the_networks_of_the_recipes(tmp_path):
    photographs(tmp_path)
    for recipe in ("cnn", "dino", "clip"):
        init(tmp_path, recipe=recipe, output=tmp_path / recipe / "wsss")
    cnn, dino, clip = (steps_of(tmp_path / recipe) for recipe in ("cnn", "dino", "clip"))
    assert not cnn["classifier"]["model"]["name"].startswith("timm/")
    model = dino["classifier"]["model"]
    assert model == {"name": NETWORK, "weights": "DEFAULT", "output_stride": 14, "dilation": "none"}
    assert dino["classifier"]["augment"]["crop"] % 14 == 0
    assert dino["small"]["masks"] == dino["segmenter"]["masks"] == "{output}/masks/masks"
    assert clip["text"]["weights"] == "openai"
    assert clip["text"]["prompts"]["classes"] == {"cat": ["cat"], "owl": ["owl"]}
    init(tmp_path, recipe="dino", weights="own.safetensors", output=tmp_path / "own/wsss")
    assert steps_of(tmp_path / "own")["classifier"]["model"]["weights"] == "own.safetensors"


class TestAuto:
    def test_without_weights_a_network_is_trained(self, tmp_path):
        photographs(tmp_path)
        text = init(tmp_path)
        assert "recipe dino" not in text
        assert steps_of(tmp_path)["classifier"]["model"]["name"] in ("mobilenet_v2", "resnet50")

    def test_with_weights_in_the_hub_s_cache(self, tmp_path, monkeypatch):
        hub = pytest.importorskip("huggingface_hub")
        keep_in_hub(tmp_path / "hub", NETWORK, {"model.safetensors": b"0"})
        find = hub.try_to_load_from_cache
        monkeypatch.setattr(
            hub, "try_to_load_from_cache", lambda r, f: find(r, f, cache_dir=tmp_path / "hub")
        )
        photographs(tmp_path / "few")
        text = init(tmp_path / "few")
        reason = "since its weights are on this machine"
        assert f"please check: run.yaml is the recipe dino, {reason}" in text
        assert steps_of(tmp_path / "few")["classifier"]["model"]["name"] == NETWORK
        init(tmp_path / "few", output=tmp_path / "own/wsss", weights="mobilenet.pth")
        model = steps_of(tmp_path / "own")["classifier"]["model"]
        assert model["weights"] == "mobilenet.pth"
        assert model["name"] != NETWORK
        monkeypatch.setattr(choice, "_MOST_ON_A_PROCESSOR", 3)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        init(tmp_path / "few", output=tmp_path / "many/wsss")
        assert steps_of(tmp_path / "many")["classifier"]["model"]["name"] == "mobilenet_v2"

    def test_defects_have_the_recipe_of_small_objects(self, tmp_path):
        draw(tmp_path, *[f"crack/{i}.png" for i in range(5)], *[f"none/{i}.png" for i in range(5)])
        assert "run.yaml is the recipe for objects from 10 pixels" in init(tmp_path)
        init(tmp_path, recipe="dino", output=tmp_path / "asked/wsss")
        assert steps_of(tmp_path / "asked")["classifier"]["model"]["name"] == NETWORK


@pytest.mark.parametrize("recipe", ["dino", "clip"])
def test_bands_are_refused(tmp_path, recipe):
    rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed")
    for name in ("rust", "sand"):
        (tmp_path / name).mkdir()
        for i in range(4):
            pixels = np.random.default_rng(i).integers(0, 256, (4, 40, 50)).astype(np.uint8)
            with rasterio.open(
                tmp_path / name / f"{i}.tif", "w", driver="GTiff", height=40, width=50, count=4,
                dtype="uint8", photometric="MINISBLACK",
            ) as file:  # fmt: skip
                file.write(pixels)
    with pytest.raises(ValueError, match=f"recipe: {recipe} takes photographs of three colours"):
        init(tmp_path, recipe=recipe)
