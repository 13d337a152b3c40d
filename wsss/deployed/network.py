"""Network of an ONNX file, run by onnxruntime."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from wsss.deployed.description import Description

SUFFIX = ".onnx"
INPUT = "images"
"""Name of the graph's input: (B, H, W, C) uint8, RGB or all bands."""


def is_onnx(path: object) -> bool:
    """Whether a path names an ONNX file, by its suffix."""
    return str(path).lower().endswith(SUFFIX)


class OnnxNetwork:
    """Network of an ONNX file that export_model has written, on the CPU.

    Several threads may run it at once.

    Args:
        path: The file.
        threads: Threads of one pass; None takes one for each core.

    Attributes:
        description: What the file says of itself.

    Raises:
        FileNotFoundError: No such file.
        ImportError: onnxruntime is not installed.
        ValueError: It is no ONNX file, or none of ours.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        if not path.is_file():
            raise FileNotFoundError(f"checkpoint not found: {path}")
        self.path = path
        runtime = _onnxruntime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or 0  # 0 is onnxruntime's word for all cores
        try:
            self._session: Any = runtime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises kinds of its own, none of Python's
            raise ValueError(f"checkpoint {path}: onnxruntime cannot open it: {error}") from error
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.description = Description.of(metadata, path)

    def run(self, images: np.ndarray, *outputs: str) -> list[np.ndarray]:
        """Run the graph.

        Args:
            images: (B, H, W, C) uint8.
            outputs: Names of those that are asked for.

        Raises:
            ValueError: The images have other bands, or a size that the file does not take.
        """
        self._check(images.shape[1:])
        try:
            return list(self._session.run(list(outputs), {INPUT: images}))
        except Exception as error:  # as above
            raise ValueError(f"{self.path}: onnxruntime failed: {error}") from error

    def _check(self, shape: tuple[int, ...]) -> None:
        height, width, bands = shape
        ours = self.description
        if bands != ours.bands:
            raise ValueError(
                f"the image has {bands} bands, and the network of {self.path} takes {ours.bands}"
            )
        if ours.size is not None and (height, width) != ours.size:
            raise ValueError(
                f"{self.path} takes images of {ours.size[1]} x {ours.size[0]} pixels alone, got "
                f"{width} x {height}; export it without size, or resize the images"
            )
        if min(height, width) < ours.least_side:
            raise ValueError(
                f"{self.path} takes images of at least {ours.least_side} pixels a side, got "
                f"{width} x {height}; a larger inference.long_side enlarges them"
            )


def _onnxruntime() -> ModuleType:
    """Import onnxruntime, an extra of this package.

    Raises:
        ImportError: It is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            "checkpoint: an ONNX file needs onnxruntime: pip install onnxruntime"
        ) from error
    # its warnings on the graph are not for whoever has a photograph to segment
    onnxruntime.set_default_logger_severity(3)
    return onnxruntime
