"""Frames of video files, as images."""

import functools
import itertools
import shutil
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from wsss.data.atomic import atomic_write
from wsss.data.storage import is_remote

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")
"""Suffixes of the files that count as videos when a folder is searched."""


@dataclass(frozen=True)
class Frame:
    """One frame of a video.

    Args:
        path: The file.
        number: Its number, from 0.
    """

    path: Path
    number: int

    def __str__(self) -> str:
        return f"{self.path}, frame {self.number}"


def is_video_name(name: str) -> bool:
    """Whether a file has the suffix of a video."""
    return name.lower().endswith(VIDEO_SUFFIXES)


def count_frames(path: Path) -> int:
    """Count the frames of a video by going through it: what its header says is often a guess.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It cannot be decoded, or lies in an object store.
    """
    video = _opened(path)
    count = 0
    while video.grab():
        count += 1
    if count == 0:
        raise ValueError(f"cannot decode video {path}: not one frame")
    return count


def frame_rate(path: Path) -> float:
    """Frames a second of a video, as its header says; 25 where it says nothing.

    Raises:
        FileNotFoundError, ValueError: See `count_frames`.
    """
    video = _opened(path)
    return float(video.get(cv2.CAP_PROP_FPS)) or 25.0


@functools.cache  # asked for every frame
def frame_size(path: Path) -> tuple[int, int]:
    """Height and width of a video's frames, upright.

    Raises:
        FileNotFoundError, ValueError: See `count_frames`.
    """
    video = _opened(path)
    height, width = cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH
    return int(video.get(height)), int(video.get(width))


def read_frame(frame: Frame) -> np.ndarray:
    """Decode a frame: (H, W, 3) uint8 RGB, turned as the file says.

    One that follows the last that was read is cheap; for an earlier one the video begins again.

    Raises:
        FileNotFoundError, ValueError: See `count_frames`; or the video ends before the frame.
    """
    if not frame.path.is_file():
        raise FileNotFoundError(f"video not found: {frame.path}")
    return _reader(frame.path, frame.path.stat().st_mtime_ns).read(frame.number)


def write_video(path: Path, pictures: Iterable[np.ndarray], rate: float) -> None:
    """Write a video (MPEG-4), whole or not at all.

    Args:
        path: The file, .mp4.
        pictures: (H, W, 3) uint8 RGB, at least one, all of one size.
        rate: Pictures a second.

    Raises:
        OSError: It cannot be written.
    """
    with tempfile.TemporaryDirectory() as folder:
        encoded = Path(folder) / "video.mp4"
        following = iter(pictures)
        first = next(following)
        size = (first.shape[1], first.shape[0])
        writer = cv2.VideoWriter(str(encoded), cv2.VideoWriter.fourcc(*"mp4v"), rate, size)
        for picture in itertools.chain([first], following):
            writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        writer.release()
        if not encoded.is_file():  # OpenCV raises nothing
            raise OSError(f"cannot write video {path}: this build of OpenCV has no encoder")
        with atomic_write(path) as file, encoded.open("rb") as source:
            shutil.copyfileobj(source, file)


class _Reader:
    """A video that is open, and the number of its next frame."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.video, self.next = _opened(path), 0
        self.lock = threading.Lock()

    def read(self, number: int) -> np.ndarray:
        with self.lock:
            if number < self.next:
                # OpenCV's search for a frame is not exact in all formats
                self.video, self.next = _opened(self.path), 0
            while self.next < number and self.video.grab():
                self.next += 1
            done, picture = self.video.read()
            self.next += 1
        if not done:
            raise ValueError(f"{self.path}: the video ends before frame {number}")
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


@functools.lru_cache(maxsize=4)
def _reader(path: Path, changed: int) -> _Reader:
    """Keep a video open; one that has changed is opened anew."""
    return _Reader(path)


def _opened(path: Path) -> cv2.VideoCapture:
    if is_remote(path):
        raise ValueError(f"{path}: videos are read from local files alone")
    if not path.is_file():
        raise FileNotFoundError(f"video not found: {path}")
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not video.isOpened():
        raise ValueError(f"cannot decode video {path}")
    return video
