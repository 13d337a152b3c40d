"""Frames of videos: counted, read in order and out of it, written."""

import itertools

import numpy as np
import pytest

from wsss.data import read_image
from wsss.data.images import image_size
from wsss.data.videos import Frame, count_frames, frame_rate, write_video


def frame(number):
    """A picture that tells its number by its grey."""
    return np.full((48, 64, 3), 10 + 20 * number, dtype=np.uint8)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    write_video(path, map(frame, range(10)), rate=12.5)
    return path


def number_of(picture):
    return round((float(picture.mean()) - 10) / 20)


def test_what_is_written_is_read(clip):
    assert (count_frames(clip), frame_rate(clip)) == (10, 12.5)
    assert image_size(Frame(clip, 3)) == (48, 64)
    for number in range(10):
        picture = read_image(Frame(clip, number))
        assert picture.dtype == np.uint8
        assert picture.shape == (48, 64, 3)
        assert np.abs(picture.astype(int) - frame(number)).max() < 8, "lossy, but the same"


def test_frames_in_any_order(clip):
    for order in itertools.permutations([0, 4, 9, 2], 3):
        assert [number_of(read_image(Frame(clip, number))) for number in order] == list(order)


def test_colours_are_red_green_and_blue(tmp_path):
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 0] = 220
    write_video(tmp_path / "red.mp4", [red], rate=10)
    mean = read_image(Frame(tmp_path / "red.mp4", 0)).mean(axis=(0, 1))
    assert mean[0] > 180
    assert max(mean[1:]) < 40


def test_what_cannot_be_read_is_named(clip, tmp_path):
    with pytest.raises(ValueError, match=r"clip\.mp4: the video ends before frame 10"):
        read_image(Frame(clip, 10))
    assert number_of(read_image(Frame(clip, 1))) == 1, "and it can still be read"
    with pytest.raises(FileNotFoundError, match="video not found"):
        read_image(Frame(tmp_path / "no.mp4", 0))
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(ValueError, match=r"cannot decode video .*text\.mp4"):
        count_frames(tmp_path / "text.mp4")
    assert image_size(Frame(tmp_path / "text.mp4", 0)) is None
