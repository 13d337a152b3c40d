"""Choice of a recipe, by what is installed, the machine, and the number of images."""

from pathlib import Path
from typing import Literal

import torch

from wsss.pipeline.recipes.foundation import NETWORK, foundation
from wsss.pipeline.recipes.photographs import photographs
from wsss.pipeline.recipes.setup import Setup
from wsss.pipeline.recipes.small_objects import SmallObjects
from wsss.pipeline.recipes.text import text

RecipeName = Literal["cnn", "dino", "clip", "auto"]
"""Roads from labels to masks; ``auto`` takes one of the others."""

_MOST_ON_A_PROCESSOR = 1000
"""Images that a processor's cores see once by a ViT-S within half an hour or so."""


def recipe_of(name: RecipeName, setup: Setup, small: SmallObjects | None, notes: list[str]) -> str:
    """Format the steps of a recipe as a commented YAML.

    Args:
        name: Which.
        setup: What it is written for.
        small: Recipe for small objects, if that is what the images show.
        notes: Receives why ``auto`` took what it took.

    Raises:
        ValueError: The recipe does not go with the images.
    """
    if name in ("dino", "clip") and setup.normalisation is not None:
        raise ValueError(
            f"recipe: {name} takes photographs of three colours, and these images have "
            f"{len(setup.normalisation.mean)} bands; give cnn"
        )
    if name == "dino":
        return foundation(setup)
    if name == "clip":
        return text(setup)
    if small is not None:
        notes.append(small.note)
        return small.run_yaml(setup)
    why = "" if name == "cnn" else _reason_for_dino(setup)
    if why:
        notes.append(f"run.yaml is the recipe dino{why}; for a trained network give --recipe cnn")
        return foundation(setup, why)
    return photographs(setup)


def _reason_for_dino(setup: Setup) -> str:
    """Say why auto takes the frozen network, as the end of a sentence; nothing where it does not.

    Only where its weights are on this machine: it was not measured here with them, and who has
    fetched them has decided to try it.
    """
    # weights that the user names are of the network that is trained
    if setup.normalisation is not None or setup.weights or not weights_here(NETWORK):
        return ""
    count = len(setup.train)
    if torch.cuda.is_available():
        return ", since its weights are on this machine, which has a GPU"
    if count <= _MOST_ON_A_PROCESSOR:
        return f", since its weights are on this machine, and {count} images are few"
    return ""


def weights_here(network: str) -> bool:
    """Whether the published weights of a network of timm are in the hub's cache."""
    from huggingface_hub import try_to_load_from_cache

    repository = "timm/" + network.removeprefix("timm/")
    found = try_to_load_from_cache(repository, "model.safetensors")
    return isinstance(found, str) and Path(found).is_file()
