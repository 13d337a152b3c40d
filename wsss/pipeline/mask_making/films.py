"""Videos of the pictures of frames."""

from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

from wsss.data.images import read_image
from wsss.data.records import Record
from wsss.data.storage import existing
from wsss.data.videos import Frame, frame_rate, write_video


def film_facts(records: Sequence[Record], made_now: Container[str], output: Path) -> dict[str, Any]:
    """Write videos/<name>.mp4 of each video all of whose frames have their picture.

    Args:
        records: All images of the command, frames in their order; others are left out.
        made_now: Ids of those whose picture is new; a video without any stays as it is.
        output: Folder of the command, with its overlays.

    Returns:
        Entry of a manifest, the number of videos; none without frames.
    """
    films: dict[str, list[Record]] = {}
    for record in records:
        if isinstance(record.image, Frame):
            films.setdefault(record.image_id.rpartition("/")[0], []).append(record)
    pictures = {
        one.image_id: output / "overlays" / f"{one.image_id}.png"
        for frames in films.values()
        for one in frames
    }
    targets = {name: output / "videos" / f"{name}.mp4" for name in films}
    there = existing([*pictures.values(), *targets.values()])
    written = 0
    for name, frames in films.items():
        if not there.issuperset(pictures[one.image_id] for one in frames):
            continue
        written += 1
        if targets[name] not in there or any(one.image_id in made_now for one in frames):
            shown = (read_image(pictures[one.image_id]) for one in frames)
            write_video(targets[name], shown, _rate(frames))
    return {"videos": written} if films else {}


def _rate(frames: Sequence[Record]) -> float:
    """Pictures a second of these frames, so that they run as fast as in their video."""
    places = [one.image for one in frames if isinstance(one.image, Frame)]
    step = places[1].number - places[0].number if len(places) > 1 else 1
    return frame_rate(places[0].path) / step
