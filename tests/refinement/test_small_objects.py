"""An object of eight pixels survives the CRF, a faint one that of the recipe for small objects."""

import re
from importlib.resources import files

import numpy as np
import pytest
import yaml

from wsss.refinement.crf import CRFConfig
from wsss.refinement.maps import Context, Picture
from wsss.refinement.seeds import BackgroundConfig, make_masks
from wsss.refinement.steps import RefinementChain
from wsss.refinement.trust import TrustConfig

SIDE = 8


def planted(contrast: int):
    """A brushed grey plate of 160 pixels, a dark square of 8 on it, and a blurred map of that."""
    generator = np.random.default_rng(0)
    grey = 130 + 4 * generator.normal(size=(160, 160)).cumsum(axis=1) / np.arange(1, 161) ** 0.5
    grey = grey + 3 * generator.normal(size=(160, 160))
    inside = np.zeros((160, 160), bool)
    inside[70 : 70 + SIDE, 90 : 90 + SIDE] = True
    grey[inside] -= contrast
    image = np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
    y, x = np.mgrid[:160, :160] - np.array([73.5, 93.5])[:, None, None]
    # as a class map of cells of a few pixels has it: twice as wide as the object
    scores = np.exp(-(y**2 + x**2) / (2 * SIDE**2)).astype(np.float32)[None]
    return image, scores, inside


def kernel_of_the_recipe(smallest: int) -> CRFConfig:
    """The CRF that the template of wsss init has."""
    text = files("wsss.pipeline").joinpath("templates/small_objects.yaml").read_text("utf-8")
    line = re.search(r"- (\{kind: crf.*\})\n", text)[1]
    width = max(3, round(1.5 * smallest))
    step = yaml.safe_load(line.replace("{{ width }}", str(width)))
    del step["kind"]
    return CRFConfig(**step)


def iou(contrast: int, crf: CRFConfig) -> float:
    image, scores, inside = planted(contrast)
    (mask,) = make_masks(
        [Picture(image, ["spot"])], [scores], BackgroundConfig(threshold=0.3),
        RefinementChain((crf,)), Context(), TrustConfig(),
    )  # fmt: skip
    found = mask == 1
    return (found & inside).sum() / (found | inside).sum()


@pytest.mark.parametrize("crf", [CRFConfig(), kernel_of_the_recipe(SIDE)], ids=["usual", "recipe"])
def test_one_of_clear_contrast_survives_every_chain(crf):
    assert iou(70, crf) > 0.9


def test_a_faint_one_survives_the_recipe_alone():
    assert iou(20, kernel_of_the_recipe(SIDE)) > 0.75
    assert iou(20, CRFConfig()) < 0.6
