"""Graph of a network for images of any size and number, written as ONNX or by torch.export."""

import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from wsss.data.atomic import atomic_write
from wsss.deployed import Description
from wsss.deployed.network import INPUT
from wsss.models.deployable import Deployable

Format = Literal["onnx", "torch_export"]

SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "torch_export": ".pt2"}

OPSET = 18
"""Operators of ONNX: the first with resizing that PyTorch's exporter writes; any runtime since 2023
has them."""

_TRACED = (2, 1061, 1387)
"""Images, rows and columns of the size at which the network is followed.

Primes, and more than any window of attention: where code asks whether a side is a whole number of
patches, or fits into one window, the file has the answer of most sizes, which is right for all
where the other only saves work.
"""

_WINDOWED = ("ShiftedWindowAttention", "ShiftedWindowAttentionV2", "WindowAttention")
"""Attention of Swin in torchvision and timm: padding, shift and mask of its windows are other code
for other sizes, which torch.export does not come to an end with."""


def traced(network: Deployable, bands: int, size: tuple[int, int] | None) -> Any:
    """Follow a network over its operations.

    Args:
        network: From (B, H, W, C) uint8 images.
        bands: C.
        size: (H, W) of a graph for one size; None for any.

    Returns:
        torch's exported program.

    Raises:
        ValueError: It can be followed for one size alone, or not at all.
    """
    windowed = {type(part).__name__ for part in network.modules()} & set(_WINDOWED)
    if size is None and windowed:
        raise ValueError(
            f"size: the windows of this network ({windowed.pop()}) depend on the image's size; "
            "give size: [height, width] for images of one size"
        )
    batch, height, width = _TRACED if size is None else (_TRACED[0], *size)
    images = torch.zeros(batch, height, width, bands, dtype=torch.uint8)
    free = torch.export.Dim.DYNAMIC
    shapes = {0: free} if size is not None else {0: free, 1: free, 2: free}
    try:
        with quiet():
            return torch.export.export(
                network.eval(), (images,), dynamic_shapes=(shapes,), strict=False
            )
    except Exception as error:  # torch.export raises many kinds, none of them ours
        raise ValueError(_unfollowed(error, size)) from error


class Graph:
    """Graph of a network in one of the formats, to be written.

    Args:
        program: torch's exported program.
        format: How.
        outputs: Names of its outputs.

    Raises:
        ImportError: onnx or onnxscript is not installed.
        ValueError: ONNX has not all of its operations.
    """

    def __init__(self, program: Any, format: Format, outputs: Sequence[str]) -> None:
        self.format = format
        self._content = program if format == "torch_export" else _onnx_model(program, outputs)

    def write(self, path: Path, description: Description) -> None:
        """Write it, a description of the network among the metadata."""
        if self.format == "torch_export":
            extra = {DESCRIPTION: json.dumps(description.metadata())}
            with atomic_write(path) as file:
                torch.export.save(self._content, file, extra_files=extra)
            return
        describe(self._content, description)
        with atomic_write(path) as file:
            file.write(self._content.SerializeToString())


def describe(model: Any, description: Description) -> None:
    """Replace the metadata of an ONNX model by a description of the network."""
    del model.metadata_props[:]
    for key, value in description.metadata().items():
        model.metadata_props.add(key=key, value=value)


DESCRIPTION = "wsss.json"
"""Name of the metadata in a file of torch.export."""


def read_program(path: Path) -> tuple[nn.Module, Description]:
    """Read a file of torch.export as a module, and its description."""
    extra = {DESCRIPTION: ""}
    program = torch.export.load(path, extra_files=extra)
    # the program would refuse sizes for which code of another library could have gone another way;
    # that it gives the same was checked when it was written
    unguarded = "check_guards" in signature(program.module).parameters
    module = program.module(check_guards=False) if unguarded else program.module()
    return module, Description.of(json.loads(extra[DESCRIPTION]), path)


def _onnx_model(program: Any, outputs: Sequence[str]) -> Any:
    """Convert a program to an ONNX model."""
    try:
        # torch imports both, and says less about what is missing
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "format: onnx needs onnx and onnxscript: pip install 'wsss[export]'"
        ) from error
    try:
        with quiet():
            written = torch.onnx.export(
                program,
                input_names=[INPUT],
                output_names=list(outputs),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # as above
        raise ValueError(
            f"format: ONNX cannot hold this network: {_first_line(error)}; take format: "
            "torch_export, or size: [height, width] for images of one size"
        ) from error
    assert written is not None
    return written.model_proto


def _unfollowed(error: Exception, size: tuple[int, int] | None) -> str:
    if size is None:
        return (
            "size: this network cannot be followed for images of any size "
            f"({_first_line(error)}); give size: [height, width] for images of one size"
        )
    return f"checkpoint: torch.export cannot follow this network: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out notes of exporters on their progress and on what they will call otherwise."""
    names = ("root", "torch.onnx", "onnxscript", "onnx_ir", "torch.export", "torch.fx")
    levels = {name: logging.getLogger(name).level for name in names}
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
