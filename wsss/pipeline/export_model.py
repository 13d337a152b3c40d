"""Write a network as a file that runs without wsss: ONNX, or torch.export."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from wsss import __version__
from wsss.data.atomic import atomic_write_text
from wsss.data.config import DataConfig
from wsss.data.masks import voc_palette
from wsss.data.records import load_records
from wsss.data.storage import file_sha256
from wsss.deployed import Description, OnnxNetwork
from wsss.models.classifier import Classifier
from wsss.models.deployable import (
    Deployable,
    DeployableCAM,
    DeployableClassifier,
    DeployableSegmenter,
)
from wsss.pipeline.deploying.checking import SIZES, Run, least_side
from wsss.pipeline.deploying.graphs import SUFFIXES, Format, Graph, read_program, traced
from wsss.pipeline.deploying.quantising import QuantiseConfig, calibration
from wsss.pipeline.deploying.quantising import quantise as quantised
from wsss.pipeline.deploying.scoring import miou_of
from wsss.runs.folder import OutputFolder
from wsss.runs.settings import Settings
from wsss.tasks.checkpoint import kind_of, load_classifier, load_segmenter

LICENCE = (
    "Not stated. Weights may be bound by the licences of the photographs, the labels and the "
    "pretrained weights that they come from; whoever hands this file on fills this in by licence."
)


def export_model(
    checkpoint: Path,
    output: Path,
    format: Format = "onnx",
    maps: bool = False,
    size: tuple[int, int] | None = None,
    licence: str = LICENCE,
    data: DataConfig | None = None,
    quantise: QuantiseConfig | None = None,
) -> Path:
    """Write a network as a file that runs without wsss: ONNX, or torch.export.

    The file takes (B, H, W, C) uint8 images, RGB, and normalises them itself. It is compared with
    the network at several sizes before it is kept. Its metadata, and model.json, name classes, mask
    values and colours; docs/how-to/deploy.md shows how other programs read it.

    Args:
        checkpoint: Network written by train_seg, train_cls or text_classifier.
        output: Folder for the file, the configuration and the manifest.
        format: onnx: model.onnx; torch_export: model.pt2, for programs that have torch.
        maps: Of a classifier: write class activation maps beside the probabilities.
        size: Height and width of the images of a file for one size alone; null takes any.
        licence: Note on the licence of the weights, kept in the file.
        data: Data set whose lists quantise names.
        quantise: Also write model.int8.onnx, with layers of eight bits; null for none.

    Returns:
        The file.

    Raises:
        FileNotFoundError, ValueError: No such checkpoint; or the network cannot be written for
            images of any size, or in this format; or settings do not fit together.
        ImportError: onnx, onnxscript or onnxruntime is not installed.
    """
    settings = Settings.of(export_model, locals())
    _check(format, size, quantise)
    network, kind, classes = _loaded(checkpoint, maps)
    if quantise is not None and quantise.score is not None and kind != "segmenter":
        raise ValueError(f"quantise.score: masks score a segmenter, and {checkpoint} is a {kind}")
    description = Description(
        kind=kind,
        classes=classes,
        palette=_colours(classes),
        normalisation=network.model.normalisation,
        outputs=network.outputs,
        size=size,
        least_side=1,
        bits=32,
        licence=licence,
        checkpoint_sha256=file_sha256(checkpoint),
        version=__version__,
    )
    used = None if quantise is None else calibration(quantise, data, output, description.bands)
    identity = {"checkpoint_sha256": description.checkpoint_sha256}
    folder = OutputFolder(output, settings, identity=identity, free=("checkpoint",), local=True)
    path = output / f"model{SUFFIXES[format]}"
    graph = Graph(traced(network, description.bands, size), format, network.outputs)
    description = replace(description, least_side=_checked(network, graph, description))
    graph.write(path, description)
    # for programs that cannot read the metadata, such as a page in a browser
    text = json.dumps(description.plain(), indent=2, ensure_ascii=False)
    atomic_write_text(output / "model.json", text)
    facts: dict[str, Any] = {"file": path.name, "sha256": file_sha256(path)}
    facts["least_side"] = description.least_side
    if quantise is not None and used is not None:
        small = path.with_name("model.int8.onnx")
        quantised(path, small, used, quantise)
        facts["int8"] = {"file": small.name, "sha256": file_sha256(small)}
        facts["calibrated_on"] = [one.image_id for one in used]
        if data is not None and quantise.score is not None:
            scored = load_records(data, quantise.score, with_labels=False)
            for name, file in (("float32", path), ("int8", small)):
                facts.setdefault("miou", {})[name] = miou_of(OnnxNetwork(file), scored)
            facts["scored"] = {"list": quantise.score, "images": len(scored)}
    folder.finish(**facts)
    return path


def shown(result: Path, settings: Mapping[str, Any]) -> str:
    """Say what was written, and how the eight-bit file scores beside the other."""
    facts = json.loads((result.parent / "manifest.json").read_text(encoding="utf-8"))
    lines = [f"wrote {result}"]
    if facts["least_side"] > min(SIZES[0][1:]):
        lines.append(f"for images of at least {facts['least_side']} pixels a side")
    if "int8" in facts:
        lines.append(f"wrote {result.parent / facts['int8']['file']}")
    if "miou" in facts:
        found = ", ".join(f"{name} {value:.4f}" for name, value in facts["miou"].items())
        lines.append(
            f"mIoU on {facts['scored']['images']} images of {facts['scored']['list']}: {found}"
        )
    return "\n".join(lines)


def _check(format: Format, size: tuple[int, int] | None, quantise: QuantiseConfig | None) -> None:
    """Refuse settings that are out of range or do not fit together."""
    if size is not None and min(size) < 32:
        raise ValueError(f"size: expected at least 32 pixels a side, got {list(size)}")
    if quantise is not None and format != "onnx":
        raise ValueError("quantise: onnxruntime quantises its own format; take format: onnx")


def _loaded(checkpoint: Path, maps: bool) -> tuple[Deployable, str, dict[str, int]]:
    """Load a network in the form in which it is exported, its kind and its classes."""
    kind = kind_of(checkpoint)
    if kind == "segmenter":
        if maps:
            raise ValueError("maps: a segmentation network has masks; maps are for classifiers")
        segmenter, classes = load_segmenter(checkpoint)
        return DeployableSegmenter(segmenter, [0, *classes.values()]), kind, classes
    if kind not in ("classifier", "text_classifier"):
        raise ValueError(
            f"checkpoint {checkpoint}: expected a network of train_seg, train_cls or "
            f"text_classifier, found {kind or 'foreign weights'}"
        )
    model, classes = load_classifier(checkpoint)
    if not maps:
        return DeployableClassifier(model), kind, classes
    if not isinstance(model, Classifier):
        raise ValueError("maps: CAM needs a linear head on cells, which a text classifier lacks")
    return DeployableCAM(model), kind, classes


def _colours(classes: Mapping[str, int]) -> tuple[str, ...]:
    """Colours of the background and the classes in the project's masks."""
    palette = voc_palette()
    return tuple(f"#{palette[value].tobytes().hex()}" for value in (0, *classes.values()))


def _checked(network: Deployable, graph: Graph, description: Description) -> int:
    """Compare a graph with its network; return the shortest side from which on it is right."""
    sizes = SIZES if description.size is None else ((1, *description.size), (2, *description.size))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"model{SUFFIXES[graph.format]}"
        graph.write(path, description)
        return least_side(network, _runner(path, graph.format, network.outputs),
                          description.bands, sizes)  # fmt: skip


def _runner(path: Path, format: Format, outputs: tuple[str, ...]) -> Run:
    """Open a file so that arrays go in and come out."""
    if format == "onnx":
        onnx = OnnxNetwork(path)
        return lambda images: onnx.run(images, *outputs)
    program, _ = read_program(path)
    return lambda images: [found.numpy() for found in program(torch.from_numpy(images))]
