"""An eval.json as a row for papers, and as a table for the terminal."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wsss.runs.threshold import ChosenThreshold

_TABLE = (
    ("miou", "mIoU"),
    ("frequency_weighted_iou", "fw IoU"),
    ("pixel_accuracy", "pixel accuracy"),
    ("mean_accuracy", "mean accuracy"),
    ("mean_precision", "mean precision"),
    ("mean_f1", "mean F1"),
    ("coverage", "coverage"),
)


def _row(report: Mapping[str, Any]) -> list[str]:
    """Name, IoU of each class, mIoU, in percent."""
    ious = [row["iou"] for row in report["classes"].values()]
    return [
        report["name"],
        *("-" if value is None else f"{100 * value:.1f}" for value in (*ious, report["miou"])),
    ]


def markdown_row(report: Mapping[str, Any]) -> str:
    """A Markdown table of one row, as papers print VOC results."""
    head = ["", *report["classes"], "mIoU"]
    lines = [head, ["---", *["---:"] * (len(head) - 1)], _row(report)]
    return "".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines
    )


def latex_row(report: Mapping[str, Any]) -> str:
    """A LaTeX tabular of one row; the last line is the row to paste."""
    special = {c: f"\\{c}" for c in "&%$#_{}"} | {"~": "\\textasciitilde{}"}
    special |= {"^": "\\textasciicircum{}", "\\": "\\textbackslash{}"}

    def line(cells: Sequence[str]) -> str:
        return " & ".join("".join(special.get(c, c) for c in cell) for cell in cells) + " \\\\\n"

    head = ["Method", *report["classes"], "mIoU"]
    return (
        f"\\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}\n"
        f"{line(head)}\\hline\n{line(_row(report))}\\end{{tabular}}\n"
    )


def format_table(path: Path) -> str:
    """The table of an eval.json as text, for a terminal."""
    facts = json.loads(path.read_text(encoding="utf-8"))
    columns = ("iou", "precision", "recall", "f1", "false_positive_rate", "false_negative_rate")
    lines = [f"{'class':<16}{'IoU':>8}{'precision':>11}{'recall':>8}{'F1':>8}{'FP':>8}{'FN':>8}"]
    for name, row in facts["classes"].items():
        cells = ["nan" if row[key] is None else f"{100 * row[key]:.2f}" for key in columns]
        lines.append(
            f"{name:<16}{cells[0]:>8}{cells[1]:>11}" + "".join(f"{cell:>8}" for cell in cells[2:])
        )
    lines.append("-" * 67)
    for key, label in _TABLE:
        value = facts[key]
        line = f"{label:<16}{'nan' if value is None else f'{100 * value:.2f}':>8}"
        ends = (facts["intervals"] or {}).get(key)
        if ends is not None and None not in ends and key == "miou":
            line += f"   95 % interval over images {100 * ends[0]:.2f} .. {100 * ends[1]:.2f}"
        lines.append(line)
    against = facts.get("against")
    if against is not None and None in against["interval"]:
        lines.append(f"against {against['folder']}: nothing to compare")
    elif against is not None:
        low, high = (100 * end for end in against["interval"])
        lines.append(
            f"against {against['folder']}: {100 * against['miou_difference']:+.2f}   95 % "
            f"{low:+.2f} .. {high:+.2f}; ahead in {100 * against['ahead_in_resamples']:.0f} % of "
            f"resamples; {against['images_better']} images better, {against['images_worse']} worse"
        )
    if facts["threshold"] is not None:
        lines.append(f"threshold       {ChosenThreshold(**facts['threshold']).text()}")
    made_by = facts["made_by"] or {}
    if "label_mode" in made_by:
        lines.append(f"classes of each image: {made_by['label_mode']} (label_mode)")
    lines.append(f"scored {facts['images']} of {facts['images_in_list']} images of the list")
    lines.append(facts["policy"])
    return "\n".join(lines)


def shown(result: object, settings: Mapping[str, Any]) -> str:
    """What a person reads at the end of eval_miou."""
    return format_table(settings["output"] / "eval.json")
