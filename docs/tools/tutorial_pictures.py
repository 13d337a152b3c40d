"""Draw the pictures of the tutorial from a folder that went through its commands.

python data/shapes/prepare.py --root drawn --seed 7 --train 54 --val 6 --size 320
mkdir mine; cp drawn/JPEGImages/* drawn/labels.csv mine
wsss init mine --smallest_object 100
wsss run --config mine/wsss/run.yaml
python docs/tools/tutorial_pictures.py mine
"""

import argparse
import tempfile
from pathlib import Path

from PIL import Image

import wsss
from wsss.pipeline.explain import explain
from wsss.visualisation import contact_sheet, strip

IMAGES = Path(__file__).parents[1] / "images"
HEIGHT = 130


def photographs(folder: Path) -> Image.Image:
    """The first eight photographs with their labels."""
    data = wsss.DataConfig(
        root=folder,
        layout="csv",
        images=Path("."),
        classes={name: value for value, name in enumerate(_classes(folder), start=1)},
        lists=Path("wsss/lists"),
    )
    records = wsss.load_records(data, "train", with_labels=True)[:8]
    names = list(data.classes)
    captions = [
        " ".join(name for name, there in zip(names, record.labels, strict=True) if there)
        for record in records
    ]
    pictures = [wsss.read_image(record.image) for record in records]
    rows = [strip(pictures[n : n + 4], captions[n : n + 4], HEIGHT) for n in (0, 4)]
    return Image.fromarray(contact_sheet(rows, columns=1))


def overlays(folder: Path, count: int) -> Image.Image:
    """The first overlays that a step of the run has written, two beside each other."""
    files = sorted((folder / "overlays").glob("*.png"))[:count]
    return Image.fromarray(contact_sheet([wsss.read_image(file) for file in files], columns=2))


def explained(folder: Path) -> Image.Image:
    """What `wsss explain` draws of the second photograph."""
    with tempfile.TemporaryDirectory() as made:
        picture = explain(
            folder / "train_0001.jpg",
            folder / "wsss/run/classifier/last.ckpt",
            labels=["ring", "blob"],
            output=Path(made, "explained.png"),
            height=220,
        )
        return Image.fromarray(wsss.read_image(picture))


def _classes(folder: Path) -> list[str]:
    lines = (folder / "labels.csv").read_text(encoding="utf-8").splitlines()[1:]
    return sorted({name for line in lines for name in line.partition(",")[2].split()})


def main() -> None:
    """Write the pictures into docs/images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    made = {
        "photographs": photographs(folder),
        "explained": explained(folder),
        "masks": overlays(folder / "wsss/run/masks", 8),
        "predictions": overlays(folder / "wsss/run/predictions", 6),
    }
    for name, picture in made.items():
        picture.save(IMAGES / f"tutorial-{name}.jpg", quality=85)


if __name__ == "__main__":
    main()
