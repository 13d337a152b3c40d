"""Videos and single files beside folders of photographs."""

import json
import shutil

import cv2
import numpy as np
import pytest

from wsss.data import read_image, read_mask
from wsss.data.tiles import TileConfig
from wsss.data.videos import Frame, count_frames, frame_rate, write_video
from wsss.errors import IncompleteError
from wsss.pipeline.predict import predict

pytestmark = pytest.mark.slow


@pytest.fixture
def place(tmp_path):
    """A folder with a video of seven frames in a folder, and a photograph."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (7, 6, 8, 3), dtype=np.uint8)
    frames = [cv2.resize(one, (64, 48), interpolation=cv2.INTER_CUBIC) for one in coarse]
    write_video(tmp_path / "in/cameras/b.mp4", frames, rate=10)
    cv2.imwrite(str(tmp_path / "in/a.png"), frames[0])
    return tmp_path / "in"


def names(output, folder, suffix="png"):
    below = output / folder
    return sorted(path.relative_to(below).as_posix() for path in below.rglob(f"*.{suffix}"))


def test_each_frame_has_its_mask(place, network, tmp_path):
    output = tmp_path / "run"
    predict(network, output, place, overlays=True, device="cpu", workers=2)
    frames = [f"cameras/b/{number:06d}.png" for number in range(7)]
    assert names(output, "masks") == ["a.png", *frames]
    # a frame as a photograph of its own has the same mask
    picture = cv2.cvtColor(read_image(Frame(place / "cameras/b.mp4", 4)), cv2.COLOR_RGB2BGR)
    (tmp_path / "one").mkdir()
    cv2.imwrite(str(tmp_path / "one/4.png"), picture)
    masks = predict(network, tmp_path / "two", tmp_path / "one/4.png", device="cpu")
    own = read_mask(output / "masks/cameras/b/000004.png")
    np.testing.assert_array_equal(read_mask(masks / "4.png"), own)
    assert own.shape == (48, 64)
    film = output / "videos/cameras/b.mp4"
    assert (count_frames(film), frame_rate(film)) == (7, 10)
    assert json.loads((output / "manifest.json").read_text())["videos"] == 1


def test_some_frames_of_one_video(place, network, tmp_path):
    output = tmp_path / "run"
    settings = {"frame_step": 3, "overlays": True, "device": "cpu"}
    predict(network, output, place / "cameras/b.mp4", **settings)
    assert names(output, "masks") == [f"b/{number:06d}.png" for number in (0, 3, 6)]
    film = output / "videos/b.mp4"
    assert count_frames(film) == 3
    assert frame_rate(film) == pytest.approx(10 / 3, rel=1e-3)
    # what is done stays; what is lost is made again, and the film with it
    before = film.stat().st_mtime_ns
    predict(network, output, place / "cameras/b.mp4", **settings)
    assert film.stat().st_mtime_ns == before
    (output / "masks/b/000003.png").unlink()
    predict(network, output, place / "cameras/b.mp4", **settings)
    assert film.stat().st_mtime_ns > before


def test_frames_that_were_taken_out_lie_beside_their_video(place, network, tmp_path):
    """In a folder of its name, each called like a frame: no mask takes another's place."""
    (place / "cameras/b").mkdir()
    shutil.copy(place / "a.png", place / "cameras/b/000000.png")
    output = tmp_path / "run"
    predict(network, output, place, device="cpu")
    frames = [f"cameras/b.mp4/{number:06d}.png" for number in range(7)]
    assert names(output, "masks") == sorted(["a.png", "cameras/b/000000.png", *frames])
    assert json.loads((output / "manifest.json").read_text())["made_now"] == 9


def test_a_broken_video_is_named_and_the_others_are_segmented(place, network, tmp_path):
    (place / "zero.mp4").write_bytes(b"")
    with pytest.raises(
        IncompleteError, match=r"1 of 9 images failed: zero/000000: cannot decode video"
    ):
        predict(network, tmp_path / "run", place, device="cpu")
    assert len(names(tmp_path / "run", "masks")) == 8


def test_what_is_refused(place, network, tmp_path):
    with pytest.raises(ValueError, match=r"tiles: frames are seen whole, and .*b\.mp4 is a video"):
        predict(network, tmp_path / "o", place, tiles=TileConfig(64, 16))
    with pytest.raises(ValueError, match="frame_step: expected at least 1, got 0"):
        predict(network, tmp_path / "o", place, frame_step=0)
    (tmp_path / "text.txt").write_text("")
    with pytest.raises(ValueError, match=r"text\.txt is no image or video"):
        predict(network, tmp_path / "o", tmp_path / "text.txt")
    with pytest.raises(FileNotFoundError, match="no such folder or file"):
        predict(network, tmp_path / "o", tmp_path / "none.mp4")
