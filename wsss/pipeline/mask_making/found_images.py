"""Images that a network is to segment: those of a list, of a folder, the frames of videos."""

import logging
from pathlib import Path

from wsss.data.config import DataConfig
from wsss.data.images import IMAGE_SUFFIXES, image_names, is_image_name
from wsss.data.listing import images_among, is_hidden, list_files
from wsss.data.rasters import Raster
from wsss.data.records import Record, load_records, tiles_of
from wsss.data.tiles import TileConfig
from wsss.data.videos import VIDEO_SUFFIXES, Frame, count_frames, is_video_name

log = logging.getLogger(__name__)

_KNOWN = ", ".join(IMAGE_SUFFIXES + VIDEO_SUFFIXES)


def check_source(
    images: Path | None, data: DataConfig | None, split: str | None, tiles: TileConfig | None
) -> None:
    """Refuse settings that do not say which images, or say it twice.

    Raises:
        ValueError: The message names the keys.
    """
    if (images is None) == (data is None) or (data is None) != (split is None):
        raise ValueError("give either images or data and split")
    if tiles is not None and data is not None:
        raise ValueError("tiles: with data, data.tiles says it")


def records_to_segment(
    images: Path | None,
    data: DataConfig | None,
    split: str | None,
    *,
    with_labels: bool,
    without: Path,
    grey_bits: int,
    bands: int,
    tiles: TileConfig | None,
    frame_step: int,
) -> list[Record]:
    """List the images of a data set's list, with their labels if asked for, or of a place.

    Args:
        images, without, grey_bits, bands, tiles, frame_step: See `find_images`.
        data, split, with_labels: See `wsss.data.records.load_records`.

    Raises:
        FileNotFoundError, ValueError: See these.
    """
    check_source(images, data, split, tiles)
    if data is not None and split is not None:
        return load_records(data, split, with_labels=with_labels)
    assert images is not None
    return find_images(
        images,
        without=without,
        grey_bits=grey_bits,
        bands=bands,
        tiles=tiles,
        frame_step=frame_step,
    )


def find_images(
    place: Path,
    *,
    without: Path,
    grey_bits: int,
    bands: int,
    tiles: TileConfig | None,
    frame_step: int,
) -> list[Record]:
    """List images, each under its path below the folder without the suffix.

    Args:
        place: A folder, which is searched with the folders inside it, or an image or a video.
        without: Folder that is not searched: that of the results, in a rerun.
        grey_bits: How many bits of 16-bit grey are used.
        bands: Those that the network takes; of more than three all are read.
        tiles: Windows in which images are seen; None sees them whole.
        frame_step: Of a video, one of so many frames is taken; ids end with a frame's number.

    Raises:
        FileNotFoundError: There is no such folder or file.
        ValueError: Nothing in it is an image or a video, or a video is to be seen in tiles.
    """
    images, videos = _listed(place, without)
    root = place if place.is_dir() else place.parent
    records = []
    for file, name in image_names(images).items():
        path = root / file
        image = path if bands <= 3 else Raster(path, tuple(range(1, bands + 1)))
        # such an image has no ground truth, and no step asks for it
        one = Record(name, image, path.with_suffix(".none"), None, grey_bits)
        records += [one] if tiles is None else tiles_of(one, tiles)
    if videos and tiles is not None:
        raise ValueError(f"tiles: frames are seen whole, and {root / videos[0]} is a video")
    folders = {name.rpartition("/")[0] for name in image_names(images).values()}
    for file, name in image_names(videos).items():
        # frames that somebody has taken out may lie in a folder of the video's name
        records += _frames(root / file, file if name in folders else name, frame_step)
    return records


def _frames(path: Path, name: str, step: int) -> list[Record]:
    """List every step-th frame of a video; of one that cannot be decoded the first, which fails."""
    try:
        count = count_frames(path)
    except ValueError:
        count = 1
    return [
        Record(f"{name}/{number:06d}", Frame(path, number), path.with_suffix(".none"), None)
        for number in range(0, count, step)
    ]


def _listed(place: Path, without: Path) -> tuple[list[str], list[str]]:
    """List the relative names of images and of videos."""
    if place.is_file():
        if is_image_name(place.name):
            return [place.name], []
        if is_video_name(place.name):
            return [], [place.name]
        raise ValueError(f"images: {place} is no image or video ({_KNOWN})")
    if not place.is_dir():
        raise FileNotFoundError(f"images: no such folder or file: {place}")
    notes: list[str] = []
    files = list_files(place, None, without, notes)
    videos = sorted(name for name in files if is_video_name(name) and not is_hidden(name))
    images, left_out = images_among((name for name in files if not is_video_name(name)), notes)
    if not images and not videos:
        more = "".join(f"; {sentence}" for sentence in left_out)
        raise ValueError(f"images: {place} holds no image or video ({_KNOWN}){more}")
    for sentence in left_out:
        log.warning("images: %s", sentence)
    return sorted(images), videos
