"""Train a segmentation network again and again on masks of its own predictions."""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from wsss.data.atomic import atomic_write
from wsss.data.config import DataConfig
from wsss.data.masks import LabelMap
from wsss.data.records import Record, load_records
from wsss.data.storage import fetched, file_sha256
from wsss.data.trusted import trusted_masks
from wsss.parallel.environment import place_among_several
from wsss.pipeline.self_training.agreement import (
    MaskAgreement,
    agreement_of_masks,
    agreement_with_labels,
)
from wsss.pipeline.self_training.stages import Stages
from wsss.runs.folder import OutputFolder
from wsss.runs.settings import Settings

log = logging.getLogger(__name__)

_FREE = ("rounds", "agreement", "checkpoint", "predict", "make_pseudo_masks", "train_seg")
"""Settings that may differ in a rerun: the folders of a round compare those of their commands."""


def self_train(
    data: DataConfig,
    checkpoint: Path,
    output: Path,
    split: str = "train",
    masks: Path | None = None,
    trusted: Path | None = None,
    held_out: str | None = None,
    other_scores: list[Path] | None = None,
    rounds: int = 2,
    agreement: float = 0.95,
    predict: dict[str, Any] | None = None,
    make_pseudo_masks: dict[str, Any] | None = None,
    train_seg: dict[str, Any] | None = None,
) -> Path:
    """Train a segmentation network again and again on masks of its own predictions.

    A round predicts the training images, each with its own labels alone; makes masks of these
    scores, refined and trusted as make_pseudo_masks does; and trains a network on them. No mask of
    the data set is opened: it ends when the masks of two rounds agree, when the new network agrees
    less than the one before with the labels of a held-out list, or after the last round. Writes
    round_1, round_2, ... and last.ckpt, the last network before a rule said stop. Given again, it
    goes on where it was cut off.

    Args:
        data: The data set.
        checkpoint: Segmentation network written by train_seg, with which the first round begins.
        output: Folder for the rounds, last.ckpt, the configuration and the manifest.
        split: List of the training images.
        masks: Folder of the masks that this network was trained on, to compare the first round
            with; null compares from the second round on.
        trusted: Folder of masks that people have corrected, see train_seg: every round trains on
            them, never on predictions of their images, which do not count in the agreement of
            masks either. null has none.
        held_out: List of images that train nothing, whose image-level labels judge each network;
            null does without.
        other_scores: Folders of scores of the same images, such as those of TIF, whose mean with
            the predictions masks are made of: views that make other errors.
        rounds: Most rounds.
        agreement: Cohen's kappa between the masks of two rounds from which nothing new is to be
            learned; the network is then not trained again.
        predict: Keys of predict: inference, device, workers.
        make_pseudo_masks: Its keys, such as background, refine and trust. Without background or
            threshold_from, background: {kind: remainder} takes the predictions as they are.
        train_seg: Its keys, as for the first network.

    Returns:
        Path of the checkpoint that is kept.
    """
    settings = Settings.of(self_train, locals())
    _check(rounds, agreement)
    masking = dict(make_pseudo_masks or {})
    if not {"background", "threshold_from"} & set(masking):
        masking["background"] = {"kind": "remainder"}
    stages = Stages(
        data, split, held_out, other_scores or [], predict or {}, masking, train_seg or {}, trusted
    )
    stages.check()
    lists = _Lists.load(data, split, held_out)
    corrected = trusted_masks(trusted, lists.train, lists.label_map, split)
    identity = {"checkpoint_sha256": file_sha256(checkpoint)}
    if corrected.masks:
        identity["trusted_sha256"] = corrected.sha256()
    folder = OutputFolder(output, settings, identity=identity, free=_FREE, local=True)
    # masks of corrected images stay as they are: whether rounds still change is asked of the others
    changing = [r.image_id for r in lists.train if r.image_id not in corrected.masks]
    end = _run_rounds(stages, lists, changing, checkpoint, masks, output, rounds, agreement)
    kept = fetched(end.kept, "checkpoint")
    with kept.open("rb") as source, atomic_write(output / "last.ckpt") as target:
        shutil.copyfileobj(source, target)
    folder.finish(
        rounds=[one.facts() for one in end.history],
        start_label_f1=end.start_label_f1,
        kept=end.kept,
        stopped=end.stopped,
        train_images=len(lists.train),
        trusted_images=len(corrected.masks),
        trusted_elsewhere=corrected.elsewhere,
        held_out_images=len(lists.held_out),
    )
    log.info("%s; kept %s", end.stopped, end.kept)
    return output / "last.ckpt"


class _Lists(NamedTuple):
    """Images of the command.

    Args:
        train: Those that are predicted and trained on.
        held_out: Those whose labels judge the networks, with labels; maybe none.
        label_map: The labels.
    """

    train: list[Record]
    held_out: list[Record]
    label_map: LabelMap

    @classmethod
    def load(cls, data: DataConfig, split: str, held_out: str | None) -> "_Lists":
        """Load the lists, which must not share an image."""
        train = load_records(data, split, with_labels=False)
        judges = [] if held_out is None else load_records(data, held_out, with_labels=True)
        both = {record.image_id for record in train} & {record.image_id for record in judges}
        if both:
            raise ValueError(
                f"held_out: {len(both)} images of the list {held_out} are in {split} too, for "
                f"example {min(both)}; give a list that trains nothing"
            )
        return cls(train, judges, LabelMap(list(data.classes.values())))


class _Round(NamedTuple):
    """What is known of a round.

    Args:
        agreement: Of its masks with those of the round before; None where there are none.
        label_f1: Agreement of its network with the held-out labels; None where it was not trained,
            or nothing is held out.
    """

    agreement: MaskAgreement | None
    label_f1: float | None

    def facts(self) -> dict[str, Any]:
        """Convert to the manifest's entries."""
        agreement = None if self.agreement is None else self.agreement._asdict()
        return {"mask_agreement": agreement, "label_f1": self.label_f1}

    def text(self) -> str:
        """Describe the round in words."""
        parts = []
        if self.agreement is not None:
            kappa, pixels = self.agreement
            parts.append(f"masks agree by kappa {kappa:.3f}, {100 * pixels:.1f} % of the pixels")
        if self.label_f1 is not None:
            parts.append(f"F1 with the held-out labels {self.label_f1:.4f}")
        return "; ".join(parts) or "done"


class _End(NamedTuple):
    """End of the rounds.

    Args:
        kept: Checkpoint of the network that is kept.
        history: The rounds.
        start_label_f1: As of a round, of the network that they began with.
        stopped: Why they ended.
    """

    kept: Path
    history: list[_Round]
    start_label_f1: float | None
    stopped: str


def _run_rounds(
    stages: Stages,
    lists: _Lists,
    changing: Sequence[str],
    checkpoint: Path,
    masks: Path | None,
    output: Path,
    rounds: int,
    agreement: float,
) -> _End:
    """Run rounds until a rule says stop; the network of the last round before is kept.

    Args:
        stages: The commands of a round.
        lists: The images.
        changing: Ids of the training images whose masks a round makes.
        checkpoint: Network of the first round.
        masks: Folder of the masks that it was trained on, if they are known.
        output: Folder of the rounds.
        rounds: Most rounds.
        agreement: Kappa from which nothing new is to be learned.
    """
    kept, start = checkpoint, _label_f1(stages, lists, checkpoint, output / "start")
    best, history = start, []
    for number in range(1, rounds + 1):
        place = output / f"round_{number}"
        made = stages.masks(kept, place)
        agreed = (
            None if masks is None else agreement_of_masks(changing, masks, made, lists.label_map)
        )
        if agreed is not None and agreed.kappa >= agreement:
            # the network of these masks would be that of the round before
            history.append(_Round(agreed, None))
            return _End(kept, history, start, f"round {number}: {history[-1].text()}")
        network = stages.network(place)
        history.append(_Round(agreed, _label_f1(stages, lists, network, place)))
        log.info("round %d: %s", number, history[-1].text())
        found = history[-1].label_f1
        if found is not None and best is not None and found < best:
            reason = f"round {number}: F1 with the held-out labels fell from {best:.4f}"
            return _End(kept, history, start, f"{reason} to {found:.4f}")
        kept, best, masks = network, found, made
    return _End(kept, history, start, f"after {rounds} rounds")


def _label_f1(stages: Stages, lists: _Lists, checkpoint: Path, folder: Path) -> float | None:
    """Agreement of a network's unfiltered predictions with the held-out labels, where there are."""
    if not lists.held_out:
        return None
    masks = stages.held_out_masks(checkpoint, folder)
    return agreement_with_labels(lists.held_out, masks, lists.label_map)


def _check(rounds: int, agreement: float) -> None:
    """Refuse numbers out of range, and several processes."""
    if place_among_several():
        raise ValueError(
            "self_train: expected one process; set trainer.devices of train_seg for several"
        )
    if rounds < 1:
        raise ValueError(f"rounds: expected at least 1, got {rounds}")
    if not 0 < agreement <= 1:
        raise ValueError(f"agreement: expected above 0, at most 1, got {agreement}")
