"""What a checkpoint says of its network, and building the network again from it."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch

from wsss.data.config import DataConfig
from wsss.data.storage import readable
from wsss.models.backbones import BackboneConfig
from wsss.models.classifier import Classifier, build_classifier
from wsss.models.deeplab import DeepLabConfig, Segmenter, build_deeplab
from wsss.models.weights import load_weights

Kind = Literal["classifier", "segmenter"]


def describe(
    kind: Kind, model: BackboneConfig | DeepLabConfig, classes: Mapping[str, int]
) -> dict[str, Any]:
    """The plain description stored under ``wsss`` in a checkpoint."""
    fields = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asdict(model).items()
    }
    return {"kind": kind, "model": fields, "classes": dict(classes)}


def load_classifier(path: Path) -> tuple[Classifier, dict[str, int]]:
    """The classifier of a checkpoint, in eval mode, and its classes with their mask values.

    Raises:
        FileNotFoundError, ValueError: No checkpoint, or not one of a classifier.
    """
    description, state = _read(path, "classifier")
    config = BackboneConfig(**{**description["model"], "weights": None})
    model = build_classifier(config, len(description["classes"]))
    load_weights(model, state, source=str(path))
    return model.eval(), description["classes"]


def load_segmenter(path: Path) -> tuple[Segmenter, dict[str, int]]:
    """The segmentation network of a checkpoint, in eval mode, and its classes.

    Raises:
        FileNotFoundError, ValueError: No checkpoint, or not one of a segmentation network.
    """
    description, state = _read(path, "segmenter")
    fields = {**description["model"], "rates": tuple(description["model"]["rates"])}
    model = build_deeplab(DeepLabConfig(**fields), len(description["classes"]) + 1)
    load_weights(model, state, source=str(path))
    return model.eval(), description["classes"]


def load_backbone_weights(segmenter: Segmenter, path: Path) -> None:
    """Start a segmentation network's backbone from a classifier checkpoint or a state dict.

    Args:
        segmenter: Its backbone receives the weights.
        path: A checkpoint written by ``train_cls``, or a torchvision state dict.

    Raises:
        FileNotFoundError, ValueError: No such file, or weights of another architecture.
    """
    state = _load(path)
    if "wsss" in state:
        state = _read(path, "classifier")[1]
        state = {
            key.removeprefix("backbone."): value
            for key, value in state.items()
            if key.startswith("backbone.")
        }
    own = segmenter.backbone.state_dict()
    if any(key.startswith("body.") for key in own):  # torchvision's DeepLab v3
        names = [key.removeprefix("body.") for key in own]
        features = "features." if f"features.{names[0]}" in state else ""
        state = {
            f"body.{key.removeprefix(features)}": value
            for key, value in state.items()
            if key.startswith(features)
        }
    head = ("fc.", "classifier.", "body.fc.", "body.classifier.")
    load_weights(segmenter.backbone, state, source=str(path), ignored=head)


def require_classes(found: Mapping[str, int], data: DataConfig, path: Path) -> None:
    """Refuse a checkpoint whose classes, values or order differ from the data set's."""
    if list(found.items()) != list(data.classes.items()):
        raise ValueError(
            f"checkpoint {path} was trained on the classes {dict(found)}, but data.classes is "
            f"{data.classes}"
        )


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _load(path: Path) -> dict[str, Any]:
    source = readable(path, "checkpoint")
    try:
        loaded = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged or unsafe file
        raise ValueError(f"cannot read checkpoint {path}: {error}") from error
    if not isinstance(loaded, dict):
        raise ValueError(f"checkpoint {path}: expected a dict, got {type(loaded).__name__}")
    return loaded


def _read(path: Path, kind: Kind) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Description and the network's state dict of a checkpoint of one kind."""
    loaded = _load(path)
    description = loaded.get("wsss")
    maker = {"classifier": "train_cls", "segmenter": "train_seg"}
    if not isinstance(description, dict) or description.get("kind") != kind:
        found = description.get("kind") if isinstance(description, dict) else "foreign weights"
        raise ValueError(
            f"checkpoint {path}: expected a {kind} written by {maker[kind]}, found {found}"
        )
    state = {
        key.removeprefix("model."): value
        for key, value in loaded["state_dict"].items()
        if key.startswith("model.")
    }
    return description, state
