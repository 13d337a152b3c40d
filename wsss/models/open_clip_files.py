"""Networks of open_clip by name, with their weights, and the embeddings of texts."""

import logging
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from wsss.models.clip_tower import (
    Pooling,
    Tower,
    TowerConfig,
    build_tower,
    open_clip_package,
    refusal,
)
from wsss.models.prompts import Prompts
from wsss.models.weights import load_weights
from wsss.normalisation import Normalisation

log = logging.getLogger(__name__)

HUB = "hf-hub:"
"""Prefix of a repository of Hugging Face."""

_COCA = "it is a CoCa, whose pooling is its own; take a CLIP, such as ViT-B-16"


class Pair(NamedTuple):
    """Image tower and text tower of one network.

    Args:
        network: open_clip's.
        tokenizer: Sentences to the (N, T) tokens that it reads.
        tower: Architecture of the image tower.
        normalisation: Mean and deviation of its images.
    """

    network: Any
    tokenizer: Any
    tower: TowerConfig
    normalisation: Normalisation

    @property
    def scale(self) -> float:
        """What cosines are multiplied by."""
        return float(self.network.logit_scale.detach().exp())


def load_pair(model: str, weights: str | None, pooling: Pooling | None) -> Pair:
    """Build a network of open_clip.

    Args:
        model: open_clip's name, a JSON file of its own format, or ``hf-hub:`` and a repository,
            which brings weights along.
        weights: A tag of open_clip, a file, or ``hf-hub:`` and a repository; None for random ones.
        pooling: See `Pooling`; None takes ``patches`` where the tower has a class token.

    Raises:
        ValueError, FileNotFoundError: No such model or weights, or a tower that is refused.
        ImportError: open_clip is not installed.
    """
    open_clip = open_clip_package()
    name = _registered(model) if model.endswith(".json") else model
    if name.startswith(HUB) and weights is not None:
        raise ValueError(f"weights: {model} brings its own, got {weights!r}")
    config = open_clip.get_model_config(name.replace("/", "-") if HUB not in name else name)
    if config is None:
        near = get_close_matches(model, open_clip.list_models(), n=5)
        raise ValueError(
            f"model: open_clip has no {model!r}"
            + (f"; near names are {', '.join(near)}" if near else "")
        )
    source, quick_gelu = _source(name, weights)
    quick_gelu |= config.get("quick_gelu", False)
    tower = _tower(config, pooling, quick_gelu)
    reason = _COCA if "multimodal_cfg" in config else refusal(tower)
    if reason is not None:  # before gigabytes are downloaded
        raise ValueError(f"model: {model}: {reason}")
    try:
        network = open_clip.create_model(
            name, pretrained=source, force_quick_gelu=quick_gelu, pretrained_text=False
        )
    except Exception as error:  # open_clip and the hub raise several kinds
        raise ValueError(f"weights: {weights} of {model}: {error}") from error
    seen = network.visual.preprocess_cfg
    colours = Normalisation(tuple(seen["mean"]), tuple(seen["std"]))
    return Pair(network.eval(), open_clip.get_tokenizer(name), tower, colours)


def _registered(model: str) -> str:
    """Let open_clip know the JSON file of an architecture; its name there."""
    open_clip = open_clip_package()
    file = Path(model)
    if not file.is_file():
        raise FileNotFoundError(f"model: no such file: {file}")
    if (Path(str(open_clip.__file__)).parent / "model_configs" / file.name).exists():
        raise ValueError(f"model: open_clip has a model called {file.stem}; rename {file}")
    open_clip.add_model_config(file)
    if open_clip.get_model_config(file.stem) is None:
        raise ValueError(f"model: {file}: expected the keys embed_dim, vision_cfg and text_cfg")
    return file.stem


def _source(name: str, weights: str | None) -> tuple[str | None, bool]:
    """Find what open_clip is to load, and whether these weights were trained with QuickGELU.

    Raises:
        ValueError, FileNotFoundError: There are no such weights.
    """
    from open_clip.pretrained import (
        download_pretrained_from_hf,
        get_pretrained_cfg,
        list_pretrained_tags_by_model,
    )

    if weights is None:
        if not name.startswith(HUB):
            log.warning("weights: none; a network of random weights tells nothing")
        return None, False
    if weights.startswith(HUB):
        return str(download_pretrained_from_hf(weights.removeprefix(HUB))), False
    known = get_pretrained_cfg(name, weights)
    if known:
        # open_clip warns and goes on with the wrong activations: OpenAI's, under the plain name
        return weights, bool(known.get("quick_gelu", False))
    if Path(weights).is_file():
        return weights, False
    tags = list_pretrained_tags_by_model(name)
    raise FileNotFoundError(
        f"weights: {weights!r} is no file, and no tag of {name} in open_clip: "
        f"{', '.join(tags) or 'it has none'}"
    )


def _tower(config: dict[str, Any], pooling: Pooling | None, quick_gelu: bool) -> TowerConfig:
    """Describe the image tower of open_clip's configuration of a network."""
    vision = dict(config["vision_cfg"])
    if pooling is None:
        token = not vision.get("timm_model_name") and vision.get("pool_type", "tok") == "tok"
        pooling = "patches" if token else "own"
    return TowerConfig(config["embed_dim"], vision, quick_gelu, pooling)


def image_tower(pair: Pair) -> Tower:
    """Take the image tower of a network, for images of any size."""
    tower = build_tower(pair.tower)
    load_weights(tower, pair.network.visual.state_dict(), source="of open_clip's image tower")
    return tower


@torch.no_grad()
def embed_prompts(pair: Pair, prompts: Prompts) -> tuple[torch.Tensor, torch.Tensor]:
    """Embed texts: (K, D) of the classes and (B, D) of the background, each of length 1.

    The embeddings of the sentences of one class are averaged at length 1, and the mean is brought
    to length 1 again, as CLIP's authors make their ensembles.
    """
    classes, background = (
        torch.stack([_mean(pair.network, pair.tokenizer, sentences) for sentences in own])
        for own in (prompts.classes, prompts.background)
    )
    return classes, background


def _mean(network: nn.Module, tokenizer: Any, sentences: Sequence[str]) -> torch.Tensor:
    """Embed sentences that mean the same: (D,)."""
    embeddings = network.encode_text(tokenizer(list(sentences)), normalize=True)  # type: ignore[operator]
    return F.normalize(embeddings.mean(dim=0), dim=0)
