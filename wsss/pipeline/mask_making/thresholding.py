"""Background threshold of the masks, with its history."""

import dataclasses
from pathlib import Path

from wsss.data.config import DataConfig
from wsss.metrics.sweep import power_threshold
from wsss.refinement.seeds import BackgroundConfig
from wsss.runs.threshold import GIVEN, ChosenThreshold, given, read_threshold


def background_of(
    background: BackgroundConfig, threshold_from: Path | None, data: DataConfig
) -> tuple[BackgroundConfig, ChosenThreshold]:
    """Fill in the background's threshold, and say how it was chosen.

    Args:
        background: Configuration of the background.
        threshold_from: A threshold.json, or its folder, that takes the place of the threshold.
        data: The data set, whose classes need a threshold each where thresholds have names.

    Raises:
        FileNotFoundError, ValueError: No such file, or a background that has no threshold to set.
    """
    plain = background.kind == "constant" and background.ignore_above is None
    if not plain and threshold_from is not None:
        raise ValueError(
            "threshold_from: expected a constant background without ignore_below, ignore_above"
        )
    if background.kind == "power":
        chosen_by = f"the power background, gamma {background.gamma:g}, comes to it without CRF"
        return background, ChosenThreshold(power_threshold(background.gamma), chosen_by)
    if background.kind == "remainder":
        chosen_by = "of a single class: the background has what the classes' probabilities leave"
        return background, ChosenThreshold(0.5, chosen_by)
    if background.ignore_above is not None:
        chosen_by = f"foreground; background below {background.ignore_below:g}, 255 between"
        return background, ChosenThreshold(background.ignore_above, f"{chosen_by}; {GIVEN}")
    if threshold_from is None:
        chosen = given(background.threshold)
        # raises where thresholds have names and a class has none
        chosen.of(data.class_names)
        return background, chosen
    chosen = read_threshold(threshold_from, data)
    return dataclasses.replace(background, threshold=chosen.value), chosen
