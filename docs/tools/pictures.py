"""Draw the pictures of README and gallery: maps and masks of freely licensed photographs.

    python docs/tools/pictures.py --weights ../shared/weights/mobilenet_v2_imagenet.pth

Photographs come with scikit-image (docs/gallery.md has their authors and licences). The network is
torchvision's MobileNetV2 with ImageNet's weights; nothing was trained or chosen for these pictures,
but for the photographs: of those that scikit-image brings along, the four with a class of ImageNet.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from skimage import data
from torchvision.models import MobileNet_V2_Weights

import wsss
from wsss.data.masks import voc_palette
from wsss.refinement import normalise_maps
from wsss.visualisation import contact_sheet, overlay_maps, overlay_mask, strip

IMAGES = Path(__file__).parents[1] / "images"
METHODS = ("tif", "cam", "layercam", "integrated_gradients")
SCALES = (0.5, 1.0, 1.5)
THRESHOLD = 0.4
CRF = wsss.CRFConfig(bilateral_srgb=8, unary_scale=12)
"""As `wsss init` writes it for photographs."""


PHOTOGRAPHS = {
    "rocket": "missile",
    "camera": "tripod",
    "coffee": "espresso",
    "chelsea": "Egyptian cat",
}
"""Photographs of scikit-image, and the class of ImageNet that is explained in each."""

MOVING = ("rocket", "camera")
CAPTIONS = (
    'photographs with the labels "missile" and "tripod"',
    "maps: which pixels speak for them",
    f"scores above {THRESHOLD}",
    "masks, after the dense CRF",
)


def read(name: str) -> np.ndarray:
    """Pixels of a photograph, (H, W, 3) uint8."""
    image = getattr(data, name)()
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)


def explained(model: torch.nn.Module, image: np.ndarray, category: int, method: str) -> np.ndarray:
    """Scores of one class, (1, H, W) float32 in [0, 1]."""
    tif = wsss.TIFConfig(region="binary", alpha=0.1) if method == "tif" else None
    scales = (1.0,) if method == "integrated_gradients" else SCALES
    found = wsss.attribute(
        model,
        wsss.normalise(image, wsss.IMAGENET),
        category,
        method=method,
        tif=tif,
        scales=scales,
    )
    return normalise_maps(found.maps.numpy())


def mask(image: np.ndarray, scores: np.ndarray, *, refined: bool) -> np.ndarray:
    """Mask of one class, (H, W) uint8 of 0 and 1."""
    background = wsss.BackgroundConfig(threshold=THRESHOLD)
    chain = wsss.RefinementChain((CRF,) if refined else ())
    return wsss.make_mask(image, scores, background, chain)


def gallery(model: torch.nn.Module, image: np.ndarray, category: int) -> np.ndarray:
    """Photograph, maps by several methods, and the mask of the first, in two rows."""
    maps = {name: explained(model, image, category, name) for name in METHODS}
    masked = overlay_mask(image, mask(image, maps["tif"], refined=True), voc_palette())
    pictures = [image, *(overlay_maps(image, scores) for scores in maps.values()), masked]
    captions = ["photograph", *METHODS, "mask of tif"]
    rows = [
        strip(pictures[first : first + 3], captions[first : first + 3], height=200)
        for first in (0, 3)
    ]
    return contact_sheet(rows, columns=1)


def moving(model: torch.nn.Module, shown: Sequence[tuple[np.ndarray, int]]) -> list[np.ndarray]:
    """Frames of some photographs: themselves, map, mask of the scores, mask after the CRF."""
    frames: list[list[np.ndarray]] = [[], [], [], []]
    for image, category in shown:
        scores = explained(model, image, category, "tif")
        masks = [mask(image, scores, refined=refined) for refined in (False, True)]
        stages = [
            image,
            overlay_maps(image, scores),
            *(overlay_mask(image, values, voc_palette()) for values in masks),
        ]
        for frame, picture in zip(frames, stages, strict=True):
            frame.append(picture)
    return [
        strip(frame, [caption, *[""] * (len(frame) - 1)], height=260)
        for caption, frame in zip(CAPTIONS, frames, strict=True)
    ]


def main() -> None:
    """Write the pictures into docs/images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    model = torchvision.models.mobilenet_v2()
    model.load_state_dict(torch.load(parser.parse_args().weights, weights_only=True))
    model.eval()
    names = list(MobileNet_V2_Weights.IMAGENET1K_V1.meta["categories"])
    found = {name: (read(name), names.index(category)) for name, category in PHOTOGRAPHS.items()}
    for name, (image, category) in found.items():
        with torch.no_grad():
            probabilities = model(wsss.normalise(image, wsss.IMAGENET)[None]).softmax(dim=1)[0]
        best = int(probabilities.argmax())
        print(f"{name}: {names[category]} {probabilities[category]:.2f}", end=", ")
        print(f"likeliest {names[best]} {probabilities[best]:.2f}")
        sheet = Image.fromarray(gallery(model, image, category))
        sheet.save(IMAGES / f"gallery-{name}.jpg", quality=85)
    frames = moving(model, [found[name] for name in MOVING])
    first, *others = (Image.fromarray(frame).quantize(128) for frame in frames)
    first.save(
        IMAGES / "from-label-to-mask.gif",
        save_all=True,
        append_images=others,
        duration=[1200, 1600, 1600, 2400],
        loop=0,
    )


if __name__ == "__main__":
    main()
