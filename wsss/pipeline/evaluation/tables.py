"""Tables of an evaluation: a row for papers, and a table for the terminal."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsss.metrics.segmentation import PER_LABEL
from wsss.pipeline.evaluation import titles
from wsss.runs.evaluation import Against, Evaluation, Retention
from wsss.runs.section import Score

_WIDTHS = {
    column: max(8, len(title) + 2)
    for column, title in titles.OF_A_CLASS.items()
    if column in PER_LABEL
}
"""Columns of the terminal's table, and their widths in characters."""


def markdown_row(evaluation: Evaluation) -> str:
    """Format a Markdown table of one row, as papers print VOC results."""
    head = ["", *evaluation.classes, "mIoU"]
    lines = [head, ["---", *["---:"] * (len(head) - 1)], _row(evaluation)]
    return "".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines
    )


def latex_row(evaluation: Evaluation) -> str:
    """Format a LaTeX tabular of one row; the last line is the row to paste."""
    # a class or method may be named with any of LaTeX's own characters
    special = {c: f"\\{c}" for c in "&%$#_{}"} | {"~": "\\textasciitilde{}"}
    special |= {"^": "\\textasciicircum{}", "\\": "\\textbackslash{}"}

    def line(cells: Sequence[str]) -> str:
        return " & ".join("".join(special.get(c, c) for c in cell) for cell in cells) + " \\\\\n"

    head = ["Method", *evaluation.classes, "mIoU"]
    return (
        f"\\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}\n"
        f"{line(head)}\\hline\n{line(_row(evaluation))}\\end{{tabular}}\n"
    )


def _row(evaluation: Evaluation) -> list[str]:
    """Cells of a row: name, IoU of each class, mIoU, in percent."""
    ious = [row.iou for row in evaluation.classes.values()]
    cells = ("-" if value is None else f"{100 * value:.1f}" for value in ious)
    miou = evaluation.means.miou
    return [evaluation.name, *cells, "-" if miou is None else f"{100 * miou:.1f}"]


def format_table(path: Path) -> str:
    """Format the table of an eval.json as text, for a terminal."""
    evaluation = Evaluation.read(path)
    return "\n".join(
        [
            *_class_lines(evaluation),
            "-" * (16 + sum(_WIDTHS.values())),
            *_mean_lines(evaluation),
            *_history_lines(evaluation),
            f"scored {evaluation.images} of {evaluation.images_in_list} images of the list",
            evaluation.policy,
        ]
    )


def shown(result: object, settings: Mapping[str, Any]) -> str:
    """Text that a person reads at the end of eval_miou."""
    return format_table(settings["output"])


def _class_lines(evaluation: Evaluation) -> Iterator[str]:
    """Yield the titles, and a line a class."""
    heads = (f"{titles.OF_A_CLASS[column]:>{width}}" for column, width in _WIDTHS.items())
    yield f"{'class':<16}" + "".join(heads)
    for name, row in evaluation.classes.items():
        cells = (f"{_percent(getattr(row, key)):>{width}}" for key, width in _WIDTHS.items())
        yield f"{name:<16}" + "".join(cells)


def _mean_lines(evaluation: Evaluation) -> Iterator[str]:
    """Yield a line a mean; the interval beside the mIoU."""
    for key, title in titles.MEANS.items():
        line = f"{title:<16}{_percent(getattr(evaluation.means, key)):>8}"
        yield line + (_interval_text(evaluation) if key == "miou" else "")
    if evaluation.kept is not None:
        # beside the scores above, which count a predicted 255 as a miss
        yield f"{'accuracy, kept':<16}{_percent(evaluation.kept.pixel_accuracy):>8}"
        yield f"{'mIoU, kept':<16}{_percent(evaluation.kept.miou):>8}   without predicted 255"


def _interval_text(evaluation: Evaluation) -> str:
    if evaluation.intervals is None:
        return ""
    low, high = evaluation.intervals.low.miou, evaluation.intervals.high.miou
    if low is None or high is None:
        return ""
    return f"   95 % interval over images {100 * low:.2f} .. {100 * high:.2f}"


def _history_lines(evaluation: Evaluation) -> Iterator[str]:
    """Yield lines on the comparison, the threshold, and the labels behind masks or scores."""
    if evaluation.against is not None:
        yield f"against {evaluation.against.folder}: {_against_text(evaluation.against)}"
    if evaluation.retention is not None:
        yield retention_text(evaluation.retention)
    if evaluation.threshold is not None:
        yield f"threshold       {evaluation.threshold.text()}"
    if evaluation.made_by is not None and evaluation.made_by.label_mode is not None:
        yield f"classes of each image: {evaluation.made_by.label_mode} (label_mode)"


def _against_text(against: Against) -> str:
    low, high = against.interval
    difference, ahead = against.miou_difference, against.ahead_in_resamples
    if low is None or high is None or difference is None or ahead is None:
        return "nothing to compare"
    return (
        f"{100 * difference:+.2f}   95 % {100 * low:+.2f} .. {100 * high:+.2f}; ahead in "
        f"{100 * ahead:.0f} % of resamples; {against.images_better} images better, "
        f"{against.images_worse} worse"
    )


def retention_text(retention: Retention) -> str:
    """Describe the share of full supervision's mIoU, with its interval."""
    networks = ", ".join(retention.full)
    text = f"retention       {_percent(retention.value)} % of the mIoU of {networks}"
    if retention.low is None or retention.high is None:
        return text
    return f"{text}   95 % {100 * retention.low:.2f} .. {100 * retention.high:.2f}"


def _percent(value: Score) -> str:
    return "nan" if value is None else f"{100 * value:.2f}"
