"""Networks of ONNX files in eight bits, by onnxruntime's own static quantisation."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from wsss.data.atomic import atomic_write
from wsss.data.config import DataConfig
from wsss.data.images import file_of
from wsss.data.records import Record, load_records
from wsss.deployed import OnnxNetwork
from wsss.deployed.network import INPUT
from wsss.deployed.segmenting import resized
from wsss.pipeline.deploying.graphs import describe, quiet
from wsss.pipeline.mask_making.found_images import records_to_segment

Ranges = Literal["minmax", "percentile", "entropy"]

_LAYERS = ("Conv", "MatMul", "Gemm", "Add", "Relu", "Clip", "Concat", "MaxPool")
"""Operations that become eight bits: those that take the time, and what stands between them.

Normalisation, resizing of logits and softmax stay float32.
"""


@dataclass(frozen=True)
class QuantiseConfig:
    """Quantisation to eight bits, by what the layers give for some images.

    Args:
        images: Folder of photographs, as the network will see them.
        split: Instead of images: a list of ``data``.
        count: Number of images, evenly spread over those that are there.
        long_side: Length to which larger images are reduced; ``null``: their own size.
        ranges: Range of a layer: from the least to the largest value (minmax), without the outer
            ones (percentile), or of least loss (entropy), which takes memory and time.
        score: List of ``data`` whose masks score the float32 and the eight-bit network. Its images
            are left out of those that the ranges are taken from.
    """

    images: Path | None = None
    split: str | None = None
    count: int = 64
    long_side: int | None = 512
    ranges: Ranges = "minmax"
    score: str | None = None

    def __post_init__(self) -> None:
        if (self.images is None) == (self.split is None):
            raise ValueError("quantise: give either images or split")
        if self.count < 1:
            raise ValueError(f"quantise.count: expected at least 1, got {self.count}")
        if self.long_side is not None and self.long_side < 32:
            raise ValueError(f"quantise.long_side: expected at least 32, got {self.long_side}")


def calibration(
    config: QuantiseConfig, data: DataConfig | None, output: Path, bands: int
) -> list[Record]:
    """List the images that ranges are taken from.

    Args:
        config: Which.
        data: The data set, where ``split`` or ``score`` names a list of it.
        output: Folder of the command, whose pictures are left out.
        bands: Number of bands that the network takes.

    Raises:
        FileNotFoundError, ValueError: There are none, or all of them are scored.
    """
    if data is None and (config.split is not None or config.score is not None):
        raise ValueError("quantise: split and score name lists of data; give data too")
    records = records_to_segment(
        config.images,
        data if config.split else None,
        config.split,
        with_labels=False,
        without=output,
        grey_bits=16,
        bands=bands,
        tiles=None,
        frame_step=1,
    )
    if data is not None and config.score is not None:
        scored = {_place(one) for one in load_records(data, config.score, with_labels=False)}
        records = [one for one in records if _place(one) not in scored]
        if not records:
            raise ValueError(
                f"quantise: all images are of the list {config.score!r}, which is scored; take "
                "others for the ranges"
            )
    places = np.linspace(0, len(records) - 1, min(config.count, len(records))).round().astype(int)
    return [records[place] for place in places]


def _place(record: Record) -> Path:
    """File of an image, by which two lists are compared."""
    return Path(os.path.abspath(file_of(record.image)[0]))


def quantise(path: Path, output: Path, records: Sequence[Record], config: QuantiseConfig) -> None:
    """Write the eight-bit form of an ONNX file.

    Args:
        path: The file.
        output: Its eight-bit form.
        records: Images that ranges are taken from.
        config: How.

    Raises:
        ImportError: onnx is not installed.
        ValueError: An image cannot be read, or has other bands.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    methods = {
        "minmax": CalibrationMethod.MinMax,
        "percentile": CalibrationMethod.Percentile,
        "entropy": CalibrationMethod.Entropy,
    }
    description = replace(OnnxNetwork(path, threads=1).description, bits=8)
    with tempfile.TemporaryDirectory() as folder, quiet():
        made = Path(folder) / "quantised.onnx"
        quantize_static(
            path,
            made,
            _Reader(records, config.long_side, description.size),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_LAYERS),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=methods[config.ranges],
        )
        model = onnx.load(made)
    describe(model, description)
    with atomic_write(output) as file:
        file.write(model.SerializeToString())


class _Reader:
    """Reader of calibration images, as onnxruntime asks for them: one dict of inputs a call.

    Args:
        records: The images.
        long_side: Length to which larger ones are reduced.
        size: (height, width) of a file for one size alone.
    """

    def __init__(
        self, records: Sequence[Record], long_side: int | None, size: tuple[int, int] | None
    ) -> None:
        self._images: Iterator[np.ndarray] = (
            _reduced(record.read(), long_side, size) for record in records
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Next inputs; None behind the last."""
        image = next(self._images, None)
        return None if image is None else {INPUT: np.ascontiguousarray(image[None])}


def _reduced(image: np.ndarray, long_side: int | None, size: tuple[int, int] | None) -> np.ndarray:
    if size is not None:
        return resized(image, size)
    factor = 1.0 if long_side is None else min(1.0, long_side / max(image.shape[:2]))
    height, width = (max(32, round(side * factor)) for side in image.shape[:2])
    return resized(image, (height, width))
