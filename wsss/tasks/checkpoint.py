"""Description of a network in its checkpoint, and the network built again from it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, cast

import torch

from wsss.data.atomic import atomic_write
from wsss.data.config import DataConfig, require_classes
from wsss.data.storage import fetched, to_path
from wsss.models.backbones import BACKBONES, BackboneConfig, read_weights
from wsss.models.bands import widen
from wsss.models.classifier import Classifier, build_classifier
from wsss.models.clip_tower import TowerConfig, build_tower
from wsss.models.pooling import PoolingConfig
from wsss.models.segmenter import Segmenter, SegmenterConfig, build_segmenter, load_backbone
from wsss.models.state_files import State, state_dict_of
from wsss.models.text_classifier import AnyClassifier, TextClassifier
from wsss.models.weights import load_weights
from wsss.normalisation import IMAGENET, Normalisation
from wsss.runs.settings import plain
from wsss.tasks.boundary_network import BoundaryNetwork
from wsss.tasks.checkpoint_files import Checkpoint, read_checkpoint

Kind = Literal["classifier", "text_classifier", "segmenter", "boundary"]

_MAKERS = {
    "classifier": "train_cls",
    "text_classifier": "text_classifier",
    "segmenter": "train_seg",
    "boundary": "train_boundary",
}
"""The command that writes each kind."""


def describe(
    kind: Kind,
    model: BackboneConfig | SegmenterConfig | TowerConfig,
    classes: Mapping[str, int],
    normalisation: Normalisation,
) -> dict[str, Any]:
    """Describe a network in plain values, as stored under ``wsss`` in a checkpoint."""
    return {
        "kind": kind,
        # a description is the same in a checkpoint, which holds no classes of ours, and in JSON
        "model": plain(model),
        "classes": dict(classes),
        "normalisation": describe_normalisation(normalisation),
    }


def describe_normalisation(normalisation: Normalisation) -> dict[str, list[float]]:
    """Describe mean and deviation in plain values."""
    return {"mean": list(normalisation.mean), "std": list(normalisation.std)}


def load_classifier(
    path: Path | str, data: DataConfig | None = None
) -> tuple[AnyClassifier, dict[str, int]]:
    """Load the classifier of a checkpoint, in eval mode, and its classes with their mask values.

    Args:
        path: A checkpoint written by ``train_cls`` or ``text_classifier``; a text may be a URL.
        data: A data set that must have the same classes.

    Raises:
        FileNotFoundError, ValueError: No checkpoint, or not one of a classifier, or of one with
            other classes.
        ImportError: It is a text classifier, and open_clip is not installed.
    """
    path = to_path(path)
    description, state = _read(path, "classifier", "text_classifier")
    model: AnyClassifier
    if description["kind"] == "text_classifier":
        model = _text_classifier_of(description, state)
    else:
        model = _classifier_of(description)
    load_weights(model, state, source=str(path))
    if data is not None:
        require_classes(description["classes"], data, path)
    return model.eval(), description["classes"]


def load_segmenter(
    path: Path | str, data: DataConfig | None = None
) -> tuple[Segmenter, dict[str, int]]:
    """Load the segmentation network of a checkpoint, in eval mode, and its classes.

    Args:
        path: A checkpoint written by ``train_seg``; a text may be a URL.
        data: A data set that must have the same classes.

    Raises:
        FileNotFoundError, ValueError: No checkpoint, or not one of a segmentation network, or of
            one with other classes.
    """
    path = to_path(path)
    description, state = _read(path, "segmenter")
    rates = description["model"]["rates"]  # None: the decoder's usual ones
    fields = {**description["model"], "rates": None if rates is None else tuple(rates)}
    model = build_segmenter(SegmenterConfig(**fields), len(description["classes"]) + 1)
    model.normalisation = normalisation_of(description)
    widen(model.backbone, len(model.normalisation.mean))
    load_weights(model, state, source=str(path))
    if data is not None:
        require_classes(description["classes"], data, path)
    return model.eval(), description["classes"]


def load_boundary(path: Path) -> BoundaryNetwork:
    """Load the boundary network of a checkpoint, in eval mode.

    Args:
        path: A checkpoint written by ``train_boundary``.

    Raises:
        FileNotFoundError, ValueError: No checkpoint, or not one of a boundary network.
    """
    description, state = _read(path, "boundary")
    network = BoundaryNetwork(_classifier_of(description))
    load_weights(network, state, source=str(path))
    return network.eval()


def as_boundary(path: Path) -> dict[str, Any]:
    """Description of a boundary network on the backbone of a classifier's checkpoint."""
    return {**_read(path, "classifier")[0], "kind": "boundary"}


def _classifier_of(description: Mapping[str, Any]) -> Classifier:
    """Build the classifier of a description, with random weights."""
    # all weights come from the checkpoint: nothing is downloaded
    config = BackboneConfig(**{**description["model"], "weights": None, "normalisation": None})
    model = build_classifier(
        config,
        len(description["classes"]),
        # older checkpoints say nothing of them: they have the mean of the last stage
        pooling=PoolingConfig(**description.get("pooling", {})),
        stages=description.get("stages"),
        hidden=description.get("hidden"),
    )
    model.normalisation = normalisation_of(description)
    widen(model.backbone, len(model.normalisation.mean))
    return model


def _text_classifier_of(description: Mapping[str, Any], state: State) -> TextClassifier:
    """Build the text classifier of a description, with random weights."""
    return TextClassifier(
        build_tower(TowerConfig(**description["model"])),
        # as many texts as were embedded
        torch.zeros_like(state["text"]),
        torch.zeros_like(state["background"]),
        1.0,
        normalisation_of(description),
    )


def save_text_classifier(
    path: Path, model: TextClassifier, tower: TowerConfig, classes: Mapping[str, int]
) -> None:
    """Write the checkpoint of a text classifier, as that of a training lies in a file."""
    loaded = {
        "state_dict": {f"model.{key}": value for key, value in model.state_dict().items()},
        "wsss": describe("text_classifier", tower, classes, model.normalisation),
    }
    with atomic_write(path) as file:
        torch.save(loaded, file)


def kind_of(path: Path) -> Kind | None:
    """Kind of the network of a checkpoint; None of foreign weights.

    Raises:
        FileNotFoundError, ValueError: No such file, or one that cannot be read.
    """
    return cast(Kind | None, read_checkpoint(path).kind)


def load_backbone_weights(segmenter: Segmenter, path: Path, name: str = "") -> None:
    """Start a segmentation network's backbone from a classifier checkpoint or a state dict.

    The classifier's normalisation comes along: its weights know no other colours.

    Args:
        segmenter: Its backbone receives the weights.
        path: A checkpoint written by ``train_cls``, a state dict of torchvision or timm, or
            torchvision's name of weights.
        name: Name of the backbone, whose published weights are meant where ``path`` is no file.

    Raises:
        FileNotFoundError, ValueError: No such file, or weights of another architecture.
    """
    path = fetched(path, "backbone_weights")
    if not path.is_file() and name in BACKBONES:
        load_backbone(segmenter, read_weights(name, str(path)), source=str(path))
        return
    found = read_checkpoint(path)
    if found.description is None:
        state = state_dict_of(found.content, path)
    else:
        # ours: only the backbone's part of it, under the backbone's own names
        description, whole = _of_kinds(found, path, "classifier")
        segmenter.normalisation = normalisation_of(description)
        widen(segmenter.backbone, len(segmenter.normalisation.mean))
        state = {
            key.removeprefix("backbone."): value
            for key, value in whole.items()
            if key.startswith("backbone.")
        }
    load_backbone(segmenter, state, source=str(path))


def normalisation_of(description: Mapping[str, Any]) -> Normalisation:
    """Normalisation of a checkpoint; those that do not say were trained with ImageNet's."""
    colours = description.get("normalisation")
    if colours is None:
        return IMAGENET
    return Normalisation(tuple(colours["mean"]), tuple(colours["std"]))


def _read(path: Path, *kinds: Kind) -> tuple[dict[str, Any], State]:
    """Read the description and the network's state dict of a checkpoint of one of these kinds."""
    return _of_kinds(read_checkpoint(path), path, *kinds)


def _of_kinds(found: Checkpoint, path: Path, *kinds: Kind) -> tuple[dict[str, Any], State]:
    """Take apart a checkpoint, which must be of one of these kinds."""
    if found.description is None or found.kind not in kinds:
        wanted = " or ".join(f"a {kind} written by {_MAKERS[kind]}" for kind in kinds)
        what = "foreign weights" if found.description is None else found.kind
        raise ValueError(f"checkpoint {path}: expected {wanted}, found {what}")
    return found.description, found.content
