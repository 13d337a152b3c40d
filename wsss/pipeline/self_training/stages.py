"""Stages of a round: the commands predict, make_pseudo_masks and train_seg, with their keys."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsss.data.config import DataConfig
from wsss.pipeline.commands import COMMANDS
from wsss.pipeline.settings import parse_settings
from wsss.runs.settings import plain


@dataclass(frozen=True)
class Stages:
    """The commands of a round, each with what the user sets of it.

    Args:
        data: The data set.
        split: List of the training images.
        held_out: List whose labels judge the networks, or None.
        other_scores: Folders of scores that are averaged with the predictions.
        predict: Keys of predict.
        make_pseudo_masks: Keys of make_pseudo_masks.
        train_seg: Keys of train_seg.
        trusted: Folder of corrected masks, which every network learns in place of predictions.
    """

    data: DataConfig
    split: str
    held_out: str | None
    other_scores: list[Path]
    predict: Mapping[str, Any]
    make_pseudo_masks: Mapping[str, Any]
    train_seg: Mapping[str, Any]
    trusted: Path | None = None

    def check(self) -> None:
        """Parse the keys of all stages, before the first has run for hours.

        Raises:
            ValueError: Unknown or ill-typed keys, or such as a round sets itself.
        """
        here = Path("unused")
        self._parsed("predict", self._prediction(here, here))
        self._parsed("make_pseudo_masks", self._mask_making(here))
        self._parsed("train_seg", self._training(here))

    def masks(self, checkpoint: Path, folder: Path) -> Path:
        """Predict the training images, and make masks of these scores; return their folder."""
        self._run("predict", self._prediction(checkpoint, folder))
        return self._run("make_pseudo_masks", self._mask_making(folder))

    def network(self, folder: Path) -> Path:
        """Train a network on the masks of a round; return its checkpoint."""
        return self._run("train_seg", self._training(folder))

    def held_out_masks(self, checkpoint: Path, folder: Path) -> Path:
        """Predict the held-out images without knowing their labels; return the masks' folder."""
        settings = {
            **self._prediction(checkpoint, folder),
            "split": self.held_out,
            "output": folder / "held_out",
            "label_mode": "all",
            "save_scores": False,
        }
        return self._run("predict", settings)

    def _prediction(self, checkpoint: Path, folder: Path) -> dict[str, Any]:
        return {
            "data": self.data,
            "split": self.split,
            "checkpoint": checkpoint,
            "output": folder / "predictions",
            "label_mode": "given",
            "save_scores": True,
            "refine": [],
        }

    def _mask_making(self, folder: Path) -> dict[str, Any]:
        return {
            "data": self.data,
            "split": self.split,
            "scores_from": [folder / "predictions", *self.other_scores],
            "output": folder / "masks",
        }

    def _training(self, folder: Path) -> dict[str, Any]:
        return {
            "data": self.data,
            "train_split": self.split,
            "masks": folder / "masks" / "masks",
            "trusted": self.trusted,
            "output": folder / "segmenter",
        }

    def _run(self, command: str, fixed: Mapping[str, Any]) -> Path:
        result: Path = COMMANDS[command].function(**self._parsed(command, fixed))
        return result

    def _parsed(self, command: str, fixed: Mapping[str, Any]) -> dict[str, Any]:
        """Parse the parameters of a command: the user's keys, and those of the round."""
        chosen: Mapping[str, Any] = getattr(self, command)
        for key in chosen:
            if key in fixed:
                raise ValueError(f"{command}.{key}: each round sets it; leave it out")
        return parse_settings(command, {**chosen, **plain(fixed)})
