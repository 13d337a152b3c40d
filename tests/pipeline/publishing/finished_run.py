"""A finished run as its commands leave it, without their work: random networks, real scores."""

import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np

from tests.tasks.networks_on_disk import write_checkpoint
from wsss.data import DataConfig, load_records, read_mask, write_mask
from wsss.data.storage import file_sha256
from wsss.pipeline.commands import COMMANDS
from wsss.pipeline.eval_miou import eval_miou
from wsss.pipeline.settings import parse_settings
from wsss.runs.folder import OutputFolder
from wsss.runs.settings import Settings, plain
from wsss.runs.threshold import ChosenThreshold

OTSU = ChosenThreshold(0.34, "Otsu's threshold of the scores", "train", False, 12)
SWEEP = ChosenThreshold(0.41, "best mIoU of the sweep", "train", True, 12)


def leave(run: Path, name: str, command: str, data: DataConfig, **given) -> Path:
    """Leave a step's config.yaml and manifest.json; ``results`` and ``identity`` go into it."""
    results, identity = given.pop("results", {}), given.pop("identity", {})
    keys = {"data": plain(data), "output": str(run / name), **given}
    settings = Settings.of(COMMANDS[command].function, parse_settings(command, keys))
    OutputFolder(run / name, settings, identity=identity).finish(**results)
    return run / name


def leave_run(run: Path, data: DataConfig, threshold=OTSU, seed: int = 0) -> Path:
    """Classifier, scores, threshold, masks, segmenter, predictions, and their score on val."""
    write_checkpoint(run / "classifier/last.ckpt", "classifier", seed)
    shutil.copy(run / "classifier/last.ckpt", run / "classifier/best.ckpt")
    facts = {"train_images": 12, "val_images": 6, "checkpoint_chosen_by": "image-level mAP on val"}
    leave(run, "classifier", "train_cls", data, seed=seed, epochs=30, results=facts)
    made = {"images": 12, "label_mode": "given"}
    last = str(run / "classifier/last.ckpt")
    unused = ChosenThreshold(0.3, "given in the configuration; how is not recorded")
    leave(run, "scores", "make_pseudo_masks", data, split="train", checkpoint=last, crf=None,
          save_scores=True, results={**made, "threshold": asdict(unused)})  # fmt: skip
    leave(run, "otsu", "choose_threshold", data, split="train", scores=str(run / "scores/scores"),
          results={"threshold": asdict(threshold)})  # fmt: skip
    leave(run, "masks", "make_pseudo_masks", data, split="train", scores_from=str(run / "scores"),
          threshold_from=str(run / "otsu"), results={**made, "threshold": asdict(threshold)},
          )  # fmt: skip
    write_checkpoint(run / "segmenter/last.ckpt", "segmenter", seed)
    leave(run, "segmenter", "train_seg", data, masks=str(run / "masks/masks"), seed=seed,
          backbone_weights=last, optim={"lr": 0.002},
          results={"train_images": 12, "checkpoint_chosen_by": "last epoch"})  # fmt: skip
    leave_predictions(run, data, seed)
    return run


def leave_predictions(run: Path, data: DataConfig, seed: int = 0) -> None:
    """Predictions of the segmenter, as if it had made them, and their real evaluation."""
    checkpoint = run / "segmenter/last.ckpt"
    leave(run, "predictions", "predict", data, split="val", checkpoint=str(checkpoint),
          crf={"bilateral_sxy": 30.0}, identity={"checkpoint_sha256": file_sha256(checkpoint)},
          results={"images": 6})  # fmt: skip
    for record in load_records(data, "val", with_labels=False):
        mask = np.roll(read_mask(record.mask), 1 + 2 * seed, axis=0)
        write_mask(run / f"predictions/masks/{record.image_id}.png", mask)
    eval_miou(data=data, split="val", predictions=run / "predictions/masks", output=run / "score",
              seed=seed)  # fmt: skip
