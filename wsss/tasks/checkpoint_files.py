"""Files of checkpoints: those of a training, and safetensors with the network's description.

A training's ``.ckpt`` holds what it takes to go on, its optimiser too. A ``.safetensors`` holds the
network alone, by the network's own names, and its description as JSON under ``wsss`` in the
metadata. Neither is read with anything that could run code, and whichever it
is shows in the file's first bytes, not in its name.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import save

from wsss.data.atomic import atomic_write
from wsss.data.storage import readable
from wsss.models.state_files import is_safetensors, read_safetensors, read_torch

_KEY = "wsss"
_PREFIX = "model."
"""Before the network's names in the state dict of a training's module."""


class Checkpoint(NamedTuple):
    """Content of a checkpoint.

    Args:
        description: Of the network, as `wsss.tasks.checkpoint.describe` makes it; None of foreign
            weights.
        content: Its state dict by the network's own names; of foreign weights, what the file holds.
    """

    description: dict[str, Any] | None
    content: Mapping[str, Any]

    @property
    def kind(self) -> str | None:
        """Kind of the network; None of foreign weights."""
        return None if self.description is None else self.description.get("kind")


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of either kind, or foreign weights.

    Raises:
        FileNotFoundError, ValueError: No such file, or one that cannot be read.
    """
    source = readable(path, "checkpoint")
    if is_safetensors(source):
        state, metadata = read_safetensors(source, path, "checkpoint")
        return Checkpoint(_described(metadata, path), state)
    loaded = read_torch(source, path, "checkpoint")
    if not isinstance(loaded, dict):
        raise ValueError(f"checkpoint {path}: expected a dict, got {type(loaded).__name__}")
    description = loaded.get(_KEY)
    if not isinstance(description, dict):
        return Checkpoint(None, loaded)
    state = {
        key.removeprefix(_PREFIX): value
        for key, value in loaded["state_dict"].items()
        if key.startswith(_PREFIX)
    }
    return Checkpoint(description, state)


def save_safetensors(checkpoint: Path, target: Path) -> None:
    """Write the network of a checkpoint as safetensors, with its description as metadata.

    The file is the same whenever it is written from the same checkpoint.

    Args:
        checkpoint: One of ours, of either kind.
        target: The file.

    Raises:
        FileNotFoundError, ValueError: No such checkpoint, or foreign weights.
    """
    description, state = read_checkpoint(checkpoint)
    if description is None:
        raise ValueError(
            f"checkpoint {checkpoint}: expected one that a command of ours has written, found "
            "foreign weights, which have no description"
        )
    # safetensors refuses tensors that lie in one memory, and such as are not stored row by row
    tensors = {key: value.detach().clone().contiguous() for key, value in state.items()}
    # one key: safetensors writes several in an order that changes from process to process
    metadata = {_KEY: json.dumps(description, ensure_ascii=False)}
    with atomic_write(target) as file:
        file.write(save(tensors, metadata))


def _described(metadata: Mapping[str, str], path: Path) -> dict[str, Any] | None:
    """Parse the description in the metadata of safetensors; None where there is none."""
    if _KEY not in metadata:
        return None
    try:
        description = json.loads(metadata[_KEY])
    except ValueError as error:
        raise ValueError(
            f"checkpoint {path}: the description under {_KEY!r} in its metadata is damaged: {error}"
        ) from error
    if not isinstance(description, dict):
        raise ValueError(
            f"checkpoint {path}: expected a description under {_KEY!r} in its metadata, got "
            f"{description!r}"
        )
    return description
