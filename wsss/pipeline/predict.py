"""Segment images with a trained network."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from wsss.data.config import DataConfig
from wsss.data.images import IMAGE_SUFFIXES, image_names, is_image_name, read_image, write_picture
from wsss.data.masks import LabelMap, voc_palette, write_mask
from wsss.data.records import load_records
from wsss.data.storage import existing
from wsss.data.transforms import normalise
from wsss.errors import IncompleteError
from wsss.models.deeplab import Segmenter
from wsss.parallel.devices import Device, resolve_device
from wsss.pipeline.refining import refinement_of
from wsss.refinement.crf import CRFConfig
from wsss.refinement.maps import Context, LabelMaps, Picture
from wsss.refinement.steps import RefinementChain
from wsss.refinement.trust import TrustConfig, trusted_labels
from wsss.runs.folder import OutputFolder
from wsss.runs.settings import Settings
from wsss.tasks.checkpoint import file_sha256, load_segmenter
from wsss.views import views
from wsss.visualisation import overlay_mask, strip


@dataclass(frozen=True)
class InferenceConfig:
    """Sizes at which an image is segmented, and whether mirrored too.

    Args:
        scales: Factors of the base size; the probabilities are averaged.
        flip: Segment the mirrored image too.
        long_side: Base size: length of the long side in pixels; ``null``: the image's own size.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    long_side: int | None = None

    def __post_init__(self) -> None:
        if not self.scales or min(self.scales) <= 0:
            raise ValueError(f"inference.scales: expected positive factors, got {self.scales}")
        if self.long_side is not None and self.long_side < 32:
            raise ValueError(
                f"inference.long_side: expected at least 32 pixels, got {self.long_side}"
            )

    def sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Input sizes (height, width) of an image, one for each scale."""
        base = 1.0 if self.long_side is None else self.long_side / max(height, width)
        return [
            (max(32, round(height * base * scale)), max(32, round(width * base * scale)))
            for scale in self.scales
        ]


def predict(
    checkpoint: Path,
    output: Path,
    images: Path | None = None,
    data: DataConfig | None = None,
    split: str | None = None,
    inference: InferenceConfig = InferenceConfig(),
    crf: CRFConfig | None = None,
    refine: RefinementChain | None = None,
    trust: TrustConfig = TrustConfig(),
    overlays: bool = False,
    device: Device = "auto",
) -> Path:
    """Segment all images of a folder, or of a data set's list.

    Writes masks/<name>.png (indexed, VOC palette) and, if asked for, overlays/<name>.png. Images
    that are done are skipped in a rerun; a broken file is named and skipped, and the command then
    fails at its end.

    Args:
        checkpoint: Segmentation network written by train_seg.
        output: Folder for masks, overlays, the configuration and the manifest.
        images: Folder of photographs, any names and sizes; folders inside it are searched too.
        data: Instead of images: a data set ...
        split: ... and its list.
        inference: Sizes at which each image is segmented.
        crf: Dense CRF on the probabilities (softmax of the network); null for none. Short for a
            refine of this one step.
        refine: Steps from probabilities to marginals, one after another: [{kind: crf, ...}, ...];
            [] for none.
        trust: Which pixels become 255 after the last step.
        overlays: Write a picture of each image with its mask.
        device: Where the network runs.

    Returns:
        Folder of the masks.
    """
    settings = Settings.of(predict, locals())
    refinement = refinement_of(refine, crf, None)
    if trust.silent == "rescue":
        raise ValueError("trust.silent: rescue needs the labels of each image; leave it at leave")
    files = _files(images, data, split, output)
    model, classes = load_segmenter(checkpoint, data)
    folder = OutputFolder(
        output,
        settings,
        identity={"checkpoint_sha256": file_sha256(checkpoint)},
        free=("device", "overlays", "checkpoint"),
    )
    label_map = LabelMap(list(classes.values()))
    place = resolve_device(device)
    predict_mask = _MaskPredictor(
        model.to(place), place, inference, refinement, label_map, classes, trust
    )
    masks = {name: output / "masks" / f"{name}.png" for name in files}
    pictures = {name: output / "overlays" / f"{name}.png" for name in files if overlays}
    there = existing([*masks.values(), *pictures.values()])
    # an image is done when both of its files are there; without overlays the mask alone
    wanted = [n for n in files if not there.issuperset({masks[n], pictures.get(n, masks[n])})]
    failed: dict[str, str] = {}
    progress = tqdm(wanted, unit="image", leave=False, disable=None)
    for name in progress:
        try:
            image = read_image(files[name])
        # a broken file among thousands is named at the end and does not stop the others
        except (OSError, ValueError) as error:
            failed[name] = str(error)
            progress.write(f"failed: {error}")
            continue
        values = predict_mask(image, name)
        if name in pictures:
            pair = [image, overlay_mask(image, values, voc_palette())]
            write_picture(pictures[name], strip(pair, ["image", "prediction"], height=240))
        # the mask last: an image that has its mask has everything
        write_mask(masks[name], values)
    (folder.record if failed else folder.finish)(
        images=len(files),
        made_now=len(wanted) - len(failed),
        made_before=len(files) - len(wanted),
        failed=failed,
    )
    if failed:
        raise IncompleteError.of(failed, len(files))
    return output / "masks"


class _MaskPredictor(NamedTuple):
    """Prediction of the mask of a photograph.

    Args:
        model: The network, on its device.
        device: That device.
        inference: Sizes.
        refinement: Steps from its probabilities to marginals.
        label_map: Mask values of its labels.
        classes: Names and mask values of its classes.
        trust: Which pixels become 255.
    """

    model: Segmenter
    device: torch.device
    inference: InferenceConfig
    refinement: RefinementChain
    label_map: LabelMap
    classes: Mapping[str, int]
    trust: TrustConfig

    def __call__(self, image: np.ndarray, name: str) -> np.ndarray:
        """Segment an (H, W, 3) uint8 RGB photograph: (H, W) uint8 mask values."""
        pixels = normalise(image, self.model.normalisation).to(self.device)
        probabilities = segment(self.model, pixels, self.inference).cpu().numpy()
        picture = Picture(image, list(self.classes), name, self.classes)
        refine = self.refinement.prepare([picture], Context(str(self.device)))
        (refined,) = refine([LabelMaps(probabilities, marginals=True)])
        return self.label_map.to_value(trusted_labels(refined.values, self.trust))


@torch.no_grad()
def segment(model: nn.Module, image: torch.Tensor, config: InferenceConfig) -> torch.Tensor:
    """Compute label probabilities of one image, averaged over sizes and flips.

    Args:
        model: (B, 3, H, W) to (B, L, H, W) logits.
        image: (3, H, W), normalised.
        config: Sizes.

    Returns:
        (L, H, W) probabilities at the image's own size.
    """
    height, width = image.shape[1:]
    of_views = []
    for view in views(image[None], config.sizes(height, width), flip=config.flip):
        logits = F.interpolate(
            model(view.images), (height, width), mode="bilinear", align_corners=False
        )
        # probabilities are averaged, not logits, whose scale differs from size to size
        seen = view.undo(logits.softmax(dim=1))
        of_views.append(sum(seen[1:], seen[0])[0] / len(seen))
    return sum(of_views[1:], of_views[0]) / len(of_views)


def _files(
    images: Path | None, data: DataConfig | None, split: str | None, output: Path
) -> dict[str, Path]:
    """Find each image by its name: its path below the folder, without suffix."""
    if images is not None:
        if data is not None or split is not None:
            raise ValueError("give either images or data and split")
        if not images.is_dir():
            raise FileNotFoundError(f"images: no such folder: {images}")
        # an output folder inside the folder of images would be segmented in a rerun
        own = output.resolve()
        found = sorted(
            path
            for path in images.rglob("*")
            if is_image_name(path.name) and own not in path.resolve().parents
        )
        if not found:
            raise ValueError(f"images: {images} holds no image ({', '.join(IMAGE_SUFFIXES)})")
        names = image_names(path.relative_to(images).as_posix() for path in found)
        return dict(zip(names.values(), found, strict=True))
    if data is None or split is None:
        raise ValueError("give either images or data and split")
    return {
        record.image_id: record.image for record in load_records(data, split, with_labels=False)
    }
