"""Content of a model card, from what lies in a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from wsss.pipeline.commands import COMMANDS
from wsss.pipeline.publishing.citation import bibtex
from wsss.pipeline.publishing.fields import CardFields
from wsss.pipeline.publishing.networks import Network
from wsss.pipeline.publishing.recipe import changed_settings
from wsss.pipeline.publishing.road import Road
from wsss.pipeline.publishing.supervision import openings, taught_by_masks, thresholds
from wsss.pipeline.repeating.page import interval_text, spread_rows
from wsss.pipeline.repeating.seeded import seed_keys
from wsss.pipeline.repeating.spread import Repeated
from wsss.pipeline.repeating.tables import percent
from wsss.pipeline.reporting.runs import EvaluationFolder, Folder
from wsss.runs.evaluation_scores import ClassScores

_SUMMARIES = {
    "segmenter": "A network that segments images: it gives each pixel one of its classes or "
    "background.",
    "classifier": "A classifier of what is in an image, trained on image-level labels. Class maps, "
    "and masks, are made from it by attribution.",
    "text_classifier": "A classifier of what is in an image, made of the names of classes by the "
    "towers of image and text of open_clip; nothing was trained. Class maps, and masks, are made "
    "from it by attribution.",
    "boundary": "A network that marks boundaries of objects, trained on masks that were made from "
    "image-level labels, for a step of refinement.",
}
_OF_PREDICTIONS = ("inference", "label_mode", "classifier_threshold", "crf", "refine", "trust")
"""Settings of predict on which a mask depends."""

_MINOR = ("report", "export", "explain", "card")


@dataclass(frozen=True)
class CardRun:
    """What a card is about.

    Args:
        road: Steps of the run; with several seeds, of that whose weights are published.
        networks: The network, then those that it was made with.
        evaluations: All evaluations of these steps.
        repeated: Those that were repeated with several seeds.
        seed: The seed whose weights are published; None of a run without seeds.
        seed_reason: How it was chosen, in words.
    """

    road: Road
    networks: Sequence[Network]
    evaluations: Sequence[EvaluationFolder]
    repeated: Sequence[Repeated]
    seed: int | None
    seed_reason: str

    @property
    def main(self) -> Network:
        """The network that the card is about."""
        return self.networks[0]

    @property
    def steps(self) -> list[str]:
        """Names of the steps that led to the network, of its own, and of those that used it."""
        main = self.main.step
        return [*self.road.before(main), main, *self.road.after(main)]

    @property
    def taught_by_masks(self) -> list[str]:
        """Steps up to the network that trained on masks of people, or perhaps did."""
        main = self.main.step
        return taught_by_masks(self.road, [*self.road.before(main), main])

    def own_evaluations(self) -> list[EvaluationFolder]:
        """Evaluations of what the network itself predicted."""
        after = self.road.after(self.main.step)
        return [one for one in self.evaluations if one.name in after]


def card_content(run: CardRun, fields: CardFields, sums: Mapping[str, str]) -> dict[str, Any]:
    """Build what the card's template asks for, but for its front matter, name and pictures.

    Args:
        run: The run.
        fields: What the author says.
        sums: SHA-256 of each network's file, by its name.
    """
    steps = [run.road.steps[name] for name in run.steps]
    return {
        "summary": _SUMMARIES[run.main.kind],
        "fields": fields.texts(),
        "main": run.main,
        "classes": _classes(run),
        "class_scores": next(iter(run.own_evaluations()), None),
        "supervision": _supervision(run),
        "lists": _lists(steps),
        "labels": _labels(steps),
        "openings": openings(run.road),
        # its own first
        "scores": [
            _score(run, one)
            for one in sorted(run.evaluations, key=lambda one: one not in run.own_evaluations())
        ],
        "repeated": spread_rows(run.repeated),
        "seed": run.seed,
        "seed_reason": run.seed_reason,
        "thresholds": thresholds(run.road, run.steps),
        "chosen": _chosen(run),
        "settings": _settings(run),
        "road": [_step(one) for one in steps if not run.road.inside(one.name)],
        "others": [
            f"`{name}`"
            for name, one in run.road.steps.items()
            if name not in run.steps and one.manifest["command"] not in _MINOR
        ],
        "versions": _versions(steps),
        "hardware": _hardware(run),
        "networks": [
            {"file": one.file, "kind": one.kind, "step": one.step, "sha256": sums[one.file]}
            for one in run.networks
        ],
        "citation": bibtex(),
    }


def _chosen(run: CardRun) -> list[tuple[str, str]]:
    """Say of each network's checkpoint how it was chosen among the epochs."""
    found = []
    for one in run.networks:
        how = run.road.steps[one.step].manifest.get("checkpoint_chosen_by")
        if how is not None:
            last = one.checkpoint.name == "last.ckpt"
            found.append((f"{one.step}/{one.checkpoint.name}", "last epoch" if last else how))
    return found


def _settings(run: CardRun) -> list[tuple[str, str]]:
    """Settings, other than the defaults, with which the network predicted what was scored."""
    found = []
    for name in run.road.after(run.main.step):
        one = run.road.steps[name]
        if one.manifest["command"] == "predict" and run.main.step in run.road.used[name]:
            changed = changed_settings(one)
            kept = {key: changed[key] for key in _OF_PREDICTIONS if key in changed}
            if kept:
                found.append((name, yaml.safe_dump(kept, sort_keys=False, width=95).strip()))
    return found


def _classes(run: CardRun) -> list[dict[str, Any]]:
    own = next(iter(run.own_evaluations()), None)
    rows = []
    for name, value in {"background": 0, **run.main.classes}.items():
        row = None if own is None else own.record.classes.get(name)
        iou = "" if row is None else percent(row.iou)
        rows.append({"name": name, "value": value, "iou": iou, "interval": _ends(row)})
    return rows


def _ends(row: ClassScores | None) -> str:
    if row is None or row.iou_low is None or row.iou_high is None:
        return ""
    return f"{percent(row.iou_low)} .. {percent(row.iou_high)}"


def _score(run: CardRun, one: EvaluationFolder) -> dict[str, Any]:
    record = one.record
    if one in run.own_evaluations():
        what = "**this network**"
    elif one.name in run.steps:
        what = "a step on its road"
    else:
        what = f"{record.kind} of {_maker(run.road, one.name)}"
    return {
        "name": one.name,
        "of": what,
        "split": record.split,
        "images": record.images,
        "miou": percent(record.means.miou),
        "interval": interval_text(record.intervals),
        "threshold": "" if record.threshold is None else record.threshold.text(),
    }


def _maker(road: Road, name: str) -> str:
    return ", ".join(sorted(road.used[name])) or "another run"


def _supervision(run: CardRun) -> str:
    """Say how ground-truth masks took part in what led to the network."""
    if run.taught_by_masks:
        return (
            "Masks of people were trained on, or masks whose maker is not known: see "
            f"{', '.join(run.taught_by_masks)} under [Data](#data)."
        )
    before = [*run.road.before(run.main.step), run.main.step]
    chosen = [
        name
        for name, threshold in thresholds(run.road, before)
        if threshold.masks_used is not False
    ]
    if chosen:
        return (
            "It learned from image-level labels, and no mask was trained on; but a threshold on "
            "its road was chosen with ground-truth masks, or how it was chosen is not recorded: "
            f"{', '.join(chosen)}."
        )
    if run.main.kind == "text_classifier":
        return "It learned from no image and no label of the data set."
    scored = any(step in run.steps for step, _ in openings(run.road))
    return (
        "It learned from image-level labels alone: no ground-truth mask was trained on, and none "
        "chose a threshold on its road" + ("; masks were opened to score." if scored else ".")
    )


def _lists(steps: Sequence[Folder]) -> list[dict[str, Any]]:
    """Lists of images that the steps used, and how many images each had."""
    rows = []
    for one in steps:
        config, facts = one.manifest["config"], one.manifest
        for key, count in (
            ("train_split", facts.get("train_images")),
            ("val_split", facts.get("val_images")),
            ("split", _images(facts)),
        ):
            if config.get(key) is not None:
                images = "" if count is None else count
                rows.append({"step": one.name, "split": config[key], "images": images})
    return rows


def _images(facts: Mapping[str, Any]) -> int | None:
    """Number of images that a step saw, wherever its manifest has it."""
    for place in (facts, facts.get("results"), facts.get("threshold")):
        if place and "images" in place:
            images: int | None = place["images"]
            return images
    return None


def _labels(steps: Sequence[Folder]) -> str:
    """Say where the classes of each image came from, as the manifests have it."""
    found = {
        one.name: one.manifest["label_mode"].partition(",")[0]
        for one in steps
        if one.manifest.get("label_mode")
    }
    if not found:
        return "No step of the road recorded where the classes of each image came from."
    modes = "; ".join(f"`{name}`: {mode}" for name, mode in found.items())
    return f"Classes of each image (label_mode; given: the image-level labels): {modes}."


def _step(one: Folder) -> dict[str, Any]:
    seeds = []
    for *outer, last in seed_keys(one.manifest["command"]):
        place = one.manifest["config"]
        for key in outer:
            place = place.get(key) or {}
        if last in place:
            seeds.append(str(place[last]))
    command = one.manifest["command"]
    summary = COMMANDS[command].summary
    return {"name": one.name, "command": command, "summary": summary, "seeds": ", ".join(seeds)}


def _versions(steps: Sequence[Folder]) -> dict[str, list[str]]:
    """Versions of every package, more than one where the steps differ."""
    found: dict[str, list[str]] = {}
    for one in steps:
        for package, version in one.manifest["versions"].items():
            if version not in found.setdefault(package, []):
                found[package].append(version)
    return found


def _hardware(run: CardRun) -> str:
    """Accelerator and precision of the trainings of the road, as they were asked for."""
    told = []
    for name in run.steps:
        trainer = run.road.steps[name].manifest["config"].get("trainer")
        if trainer is not None:
            told.append(f"`{name}`: accelerator {trainer['accelerator']}, {trainer['precision']}")
    return "; ".join(told) or "no training"
