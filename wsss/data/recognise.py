"""Recognition of the layout of a data set's folder, for `wsss init`."""

from pathlib import Path

from wsss.data.sources import SOURCES, DataSource
from wsss.data.sources.detection import Folder, Found
from wsss.data.splits import split_in


def _weaker(folder: Folder, chosen: DataSource, found: Found) -> list[str]:
    """Say what else could be taken for labels, by evidence that is weaker."""
    notes = []
    for source in SOURCES.values():
        if source.evidence > chosen.evidence:
            try:
                other = source.detect(folder.again())
            except (OSError, ValueError):
                continue
            if other is None:
                continue
            # the same classes told twice are no contradiction, and parts of a data set no classes
            parts = any(split_in(name) or "image" in name.lower() for name in other.classes)
            if not parts and other.classes.keys() != found.classes.keys():
                notes.append(f"not used: {other.what}; the labels are those of {found.what}")
    return notes


def recognise(path: Path) -> Found:
    """Find the layout of a data set.

    Args:
        path: Its folder.

    Raises:
        FileNotFoundError: No such folder.
        ValueError: It holds no images, or nothing that says what they show; the message says what
            is expected, and why what lies there is not used.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"no such folder: {path}")
    folder = Folder(path)
    # the first that agrees is taken, so the order is by what is hardest to mistake; see `Evidence`
    for source in sorted(SOURCES.values(), key=lambda source: source.evidence):
        found = source.detect(folder)
        if found is not None:
            found.notes += _weaker(folder, source, found)
            found.files = [name for name in folder.photographs if not folder.is_passed_over(name)]
            found.notes += [*folder.sentences(), *folder.listing.left_out]
            return found
    why = "".join(f"; {text}" for text in [*folder.sentences(), *folder.listing.left_out])
    # only now: a COCO file is recognised before its photographs are there
    if not folder.images:
        raise ValueError(f"{path}: no image was found there or five folders down{why}")
    raise ValueError(
        f"{path}: {len(folder.images)} images, but nothing says what they show. Put a file "
        f"{path / 'labels.csv'} beside them, with the header 'image,labels' and a row such "
        f"as '{folder.images[0]},cat dog' for each image; or sort them into a folder for "
        f"each class{why}"
    )
