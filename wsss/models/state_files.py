"""Files of weights as people have them: read without running anything, unwrapped, and named."""

import io
import json
import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file

log = logging.getLogger(__name__)

State = Mapping[str, torch.Tensor]


def read_state(path: Path) -> State:
    """Read the state dict of a file of safetensors or of torch.save, whatever its name.

    Raises:
        ValueError: It is neither, is damaged, or holds more than tensors.
    """
    if is_safetensors(path):
        return read_safetensors(path, path, "weights")[0]
    return state_dict_of(read_torch(path, path, "weights"), path)


def is_safetensors(source: Path | io.BytesIO) -> bool:
    """Whether a file, or its bytes, begins as one of safetensors; what is no file does not."""
    if isinstance(source, io.BytesIO):
        start = source.getvalue()[:9]
    elif source.is_file():
        with source.open("rb") as file:
            start = file.read(9)
    else:
        return False
    # the length of a header in JSON, eight bytes of which the upper ones are 0, and its first brace
    return start[5:] == b"\0\0\0{"


def read_safetensors(
    source: Path | io.BytesIO, path: Path, what: str
) -> tuple[State, dict[str, str]]:
    """Read the tensors of a file of safetensors, and its metadata.

    Args:
        source: The file, or its bytes.
        path: The file, for errors.
        what: What it should be, for errors.

    Raises:
        ValueError: It is damaged.
    """
    try:
        if isinstance(source, io.BytesIO):
            content = source.getvalue()
            return load(content), _metadata(content)
        with source.open("rb") as file:
            start = file.read(8)
            start += file.read(int.from_bytes(start, "little"))
        return load_file(source), _metadata(start)
    except SafetensorError as error:
        raise ValueError(
            f"cannot read {what} {path}: it begins as safetensors and is damaged ({error})"
        ) from error


def _metadata(start: bytes) -> dict[str, str]:
    """Metadata in the header of a file that safetensors has read, and so found whole."""
    header = json.loads(start[8 : 8 + int.from_bytes(start[:8], "little")])
    found: dict[str, str] = header.get("__metadata__", {})
    return found


def read_torch(source: Path | io.BytesIO, path: Path, what: str) -> Any:
    """Read what torch.save has written: tensors and plain values alone.

    Args:
        source: The file, or its bytes.
        path: The file, for errors.
        what: What it should be, for errors.

    Raises:
        ValueError: It is something else, or damaged; the message says what it looks like.
    """
    try:
        return torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged or unsafe file
        raise ValueError(f"cannot read {what} {path}: {_reason(source, error)}") from error


def _reason(source: Path | io.BytesIO, error: Exception) -> str:
    """Say in our words why a file is not read; torch advises to run whatever it holds."""
    if isinstance(source, io.BytesIO):
        start = source.getvalue()[:512]
    else:
        with source.open("rb") as file:
            start = file.read(512)
    if start.startswith(b"version https://git-lfs"):
        return "it is the pointer of Git LFS, not the file itself (git lfs pull fetches that)"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page; the link led to a page about the file, not to the file"
    if not start:
        return "it is empty"
    refused = re.search(r"GLOBAL (\S+)", str(error))
    if refused is not None:
        return (
            f"it holds more than tensors ({refused[1]}), which is not read, since reading it may "
            "run code; save model.state_dict() alone"
        )
    return "it is damaged, or no file of torch.save"


def state_dict_of(loaded: Any, path: Path) -> State:
    """Find the state dict in what a file holds: itself, or the one inside of it.

    Raises:
        ValueError: There is none, or several.
    """
    if _is_state(loaded):
        return dict(loaded)
    inside = {}
    if isinstance(loaded, Mapping):
        inside = {str(key): value for key, value in loaded.items() if _is_state(value) and value}
    if not inside:
        raise ValueError(f"weights {path}: expected a state dict, names with their tensors")
    if len(inside) > 1:
        raise ValueError(
            f"weights {path}: expected one state dict, got {', '.join(map(repr, inside))}; save "
            "one of them alone"
        )
    name, state = next(iter(inside.items()))
    log.info("weights %s: the state dict is that under %r", path, name)
    return dict(state)


def without_prefix(state: State, names: Iterable[str], source: str) -> State:
    """Take the tensors whose names end as they should, where one beginning is common to all.

    Wrappers and larger networks put one in front: ``module.`` (DataParallel), ``_orig_mod.``
    (torch.compile), ``backbone.``, ``model.encoder.``.

    Args:
        state: Tensors by name.
        names: What is looked for.
        source: Where they come from, for what is logged.

    Returns:
        The tensors by their names without it; the same where nothing, or several, would fit.
    """
    # counters of BatchNorm may be missing
    wanted = [name for name in names if not name.endswith("num_batches_tracked")]
    if not wanted or any(name in state for name in wanted):
        return state
    first = wanted[0]
    found = [name[: -len(first)] for name in state if name.endswith(f".{first}")]
    fitting = [prefix for prefix in found if all(prefix + name in state for name in wanted)]
    if len(fitting) != 1:
        return state
    prefix = fitting[0]
    taken = {key[len(prefix) :]: v for key, v in state.items() if key.startswith(prefix)}
    others = len(state) - len(taken)
    log.info(
        "weights %s: taken without their prefix %r%s",
        source,
        prefix,
        f"; {others} tensors without it are left out" if others else "",
    )
    return taken


def _is_state(value: Any) -> bool:
    return isinstance(value, Mapping) and all(torch.is_tensor(one) for one in value.values())
