"""The data: images that are drawn, in VOC's size, and how much of everything is measured."""

import importlib.util
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wsss.data import DataConfig

REPOSITORY = Path(__file__).resolve().parents[2]
CLASSES = {"ring": 1, "star": 2, "cross": 3, "bar": 4, "blob": 5}


class Sizes(NamedTuple):
    """How much is measured.

    Args:
        image: Height and width of the drawn images.
        drawn: How many are drawn.
        listed: How many are listed: each drawn one several times, under names of its own.
        networks: Backbones of the classifiers that are explained; the first makes the masks that
            are refined.
        scales: Sizes at which images are explained, mirrored too.
        backbone: Of the networks that are trained.
        decoder: Width of the segmenter's decoder.
        crop: Of the training.
        batch: Images of a step of the training.
        crf: Images that the CRF takes at once.
        epochs: Of the training from files.
    """

    image: tuple[int, int]
    drawn: int
    listed: int
    networks: tuple[str, ...]
    scales: tuple[float, ...]
    backbone: str
    decoder: int
    crop: int
    batch: int
    crf: int = 8
    epochs: int = 3


OF_A_GPU = Sizes(
    image=(375, 500), drawn=16, listed=256, networks=("mobilenet_v2", "resnet50"),
    scales=(0.5, 1.0, 1.5, 2.0), backbone="resnet50", decoder=256, crop=321, batch=32,
)  # fmt: skip
OF_A_REHEARSAL = Sizes(
    image=(94, 125), drawn=8, listed=8, networks=("narrow_resnet10",), scales=(0.5, 1.0),
    backbone="narrow_resnet10", decoder=16, crop=65, batch=4, crf=2, epochs=2,
)  # fmt: skip


def draw_data(root: Path, sizes: Sizes, seed: int) -> DataConfig:
    """Draw the data set with lists ``train``, all images, and ``val``, two of them."""
    shapes = _script("shapes")
    height, width = sizes.image

    def draw(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
        # a quarter larger than it has to be, since the script draws sides down to four fifths
        image, mask = shapes.draw(rng, size * 5 // 4 + 1)
        return image[:height, :width], mask[:height, :width]

    writer = sys.modules["drawing"]
    options = {"train": sizes.drawn, "val": 2, "size": max(sizes.image)}
    writer.write_drawn(root, tuple(CLASSES), draw, seed=seed, quality=92, **options)
    _repeat(root, sizes)
    return DataConfig(root=root, classes=CLASSES)


def _repeat(root: Path, sizes: Sizes) -> None:
    """List each drawn image several times: a copy of a file is decoded like any other."""
    labels = root / "labels.csv"
    rows = dict(line.split(",", 1) for line in labels.read_text().splitlines()[1:])
    names = [f"train_{i:04d}" for i in range(sizes.drawn)]
    for number in range(sizes.drawn, sizes.listed):
        source, name = names[number % sizes.drawn], f"train_{number:04d}"
        for folder, suffix in (("JPEGImages", "jpg"), ("SegmentationClass", "png")):
            content = (root / folder / f"{source}.{suffix}").read_bytes()
            (root / folder / f"{name}.{suffix}").write_bytes(content)
        rows[name] = rows[source]
        names.append(name)
    labels.write_text("image,labels\n" + "".join(f"{name},{row}\n" for name, row in rows.items()))
    (root / "ImageSets/Segmentation/train.txt").write_text("".join(f"{n}\n" for n in names))


def _script(name: str):
    """data/<name>/prepare.py as a module; it finds data/drawing.py by itself."""
    path = REPOSITORY / "data" / name / "prepare.py"
    spec = importlib.util.spec_from_file_location(f"prepare_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
