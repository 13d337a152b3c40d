"""Compare methods of attribution on one data set, with shared passes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from wsss.attribution.multiscale import MultiScaleConfig
from wsss.data.config import DataConfig
from wsss.data.masks import LabelMap
from wsss.data.storage import file_sha256
from wsss.parallel.devices import Device, full_float32, resolve_device
from wsss.pipeline.benchmarking.comparing import choose, report
from wsss.pipeline.benchmarking.costs import measured_costs
from wsss.pipeline.benchmarking.explaining import Explainer
from wsss.pipeline.benchmarking.fidelity import Fidelity, FidelityConfig
from wsss.pipeline.benchmarking.lists import read_lists
from wsss.pipeline.benchmarking.measuring import MetricGroup, measure
from wsss.pipeline.benchmarking.methods import MethodConfig, candidates_of
from wsss.pipeline.benchmarking.pictures import write_examples, write_figure
from wsss.pipeline.benchmarking.plausibility import plausibility
from wsss.pipeline.benchmarking.tables import write_tables
from wsss.runs.folder import OutputFolder
from wsss.runs.settings import Settings
from wsss.tasks.checkpoint import load_classifier


def benchmark_attribution(
    data: DataConfig,
    checkpoint: Path,
    choose_split: str,
    report_split: str,
    methods: dict[str, MethodConfig],
    output: Path,
    multiscale: MultiScaleConfig = MultiScaleConfig(scales=(1.0,), flip=False),
    fidelity: FidelityConfig | None = FidelityConfig(),
    pictures: list[str] | None = None,
    timing_images: int = 5,
    limit: int | None = None,
    device: Device = "auto",
) -> Path:
    """Compare methods of attribution: segmentation, pointing, fidelity, spectrum and cost.

    The options of a method and all thresholds are chosen on one list and reported on another. Each
    combination of a method's options is a candidate; every image's forward pass and gradients
    serve all candidates that can share them. An interrupted run goes on where it stopped when the
    command is given again.

    Writes results.csv, .json and .md (one row for each candidate), curve.csv (mIoU of each
    candidate at each threshold), pairs.csv (metrics of each image and class), sizes.csv (pointing
    and energy by thirds of the objects' area), figure.png and, if asked for, examples.png.

    Args:
        data: The data set, with masks for both lists.
        checkpoint: Classifier written by train_cls or text_classifier.
        choose_split: List on which options and thresholds are chosen.
        report_split: List on which they are reported.
        methods: Methods by name, with the options that are tried.
        output: Folder for the results and the configuration.
        multiscale: Sizes at which each image is explained.
        fidelity: Metrics that change the images and ask the classifier again; null leaves them
            out.
        pictures: Names of methods whose maps are drawn side by side, the one in question last:
            the images of the report list where it wins and loses most.
        timing_images: The cost of each candidate is measured on the first images of choose_split.
        limit: Only the first images of each list.
        device: Where the network runs.

    Returns:
        results.csv.
    """
    settings = Settings.of(benchmark_attribution, locals())
    candidates = candidates_of(methods)
    _check(methods, pictures, timing_images)
    lists = read_lists(data, choose_split, report_split, limit)
    model = load_classifier(checkpoint, data)[0].to(resolve_device(device))
    explainer = Explainer(model, multiscale, candidates)
    identity = {
        "checkpoint_sha256": file_sha256(checkpoint),
        "lists_sha256": lists.fingerprint(),
    }
    folder = OutputFolder(output, settings, identity=identity, free=("device", "pictures"))
    label_map = LabelMap(list(data.classes.values()))
    parts = output / "parts"
    metrics: list[MetricGroup] = [plausibility]
    if fidelity is not None:
        metrics.append(Fidelity(model, fidelity))
    with full_float32():
        costs = measured_costs(explainer, lists.choose[:timing_images], output / "cost.json")
        # choosing takes the sweep of thresholds alone; the other metrics are only reported
        seen = measure(explainer, lists.choose, label_map, parts / choose_split)
        choices = choose(candidates, seen)
        measured = measure(explainer, lists.report, label_map, parts / report_split, metrics)
    results = report(choices, measured, costs)
    table = write_tables(output, results, measured, data.class_names)
    write_figure(output / "figure.png", results)
    if pictures:
        picture = output / "examples.png"
        write_examples(picture, pictures, results, measured, explainer, lists.report)
    folder.finish(
        threshold_policy=f"best mIoU of the sweep on {choose_split}, chosen with its masks; "
        f"miou_oracle: on {report_split} itself",
        ways=len(candidates),  # the manifests of earlier versions call them so
        choose_images=len(lists.choose),
        images=len(lists.report),
    )
    return table


def _check(
    methods: Mapping[str, MethodConfig], pictures: Sequence[str] | None, timing_images: int
) -> None:
    """Refuse what cannot be drawn or timed, before anything is measured."""
    for name in pictures or []:
        if name not in methods:
            raise ValueError(f"pictures: no method {name!r}; expected {', '.join(methods)}")
    if timing_images < 1:
        raise ValueError(f"timing_images: expected at least 1, got {timing_images}")
