"""The images that suggest lists first, on masks with planted errors."""

import csv

import numpy as np
import pytest

from tests.pipeline.conftest import IDS, contents, manifest
from wsss.cli import command
from wsss.data import load_records, read_mask, write_mask
from wsss.data.scores import Scores, write_scores
from wsss.pipeline.suggest import suggest

VALUES = np.array([1, 2, 3, 4, 5], np.uint8)


def rows(output) -> list[dict[str, str]]:
    with (output / "suggest.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def ranking(output) -> list[str]:
    return [row["image"] for row in rows(output)]


def write_sure(path, truth):
    """Scores that are the mask in every fourth pixel, as sure as can be."""
    planes = np.stack([np.where(truth == value, 255, 0) for value in VALUES]).astype(np.uint8)
    write_scores(path, Scores(VALUES, planes[:, ::4, ::4], truth.shape))


@pytest.fixture
def folders(shapes, tmp_path):
    """Masks in blocks of eight pixels, and scores of a network that agrees with all of them."""
    for record in load_records(shapes, "train", with_labels=False):
        drawn = read_mask(record.mask)
        coarse = np.kron(drawn[::8, ::8], np.ones((8, 8), np.uint8))
        mask = coarse[: drawn.shape[0], : drawn.shape[1]]
        write_mask(tmp_path / f"masks/{record.image_id}.png", mask)
        write_sure(tmp_path / f"scores/{record.image_id}.npz", mask)
    return tmp_path


def change(folders, image_id, change):
    path = folders / f"masks/{image_id}.png"
    mask = read_mask(path)
    change(mask)
    write_mask(path, mask)


def run(shapes, folders, name="out", **options):
    given = {"pictures": 0} | options
    return suggest(shapes, folders / "masks", folders / "scores", folders / name, **given)


class TestRanking:
    def test_a_wrong_mask_comes_first(self, shapes, folders):
        change(folders, IDS[7], lambda mask: mask.fill(0))
        table = run(shapes, folders)
        first, second, *_ = rows(table.parent)
        assert (first["rank"], first["image"]) == ("1", IDS[7])
        assert float(first["gain"]) > 2 * float(second["gain"])
        assert float(first["disagreement"]) > 0.9 * float(first["gain"])
        truth = set(np.unique(read_mask(shapes.root / shapes.masks / f"{IDS[7]}.png"))) - {0}
        named = {part.split()[0] for part in first["classes"].split(", ")}
        assert {name for name, value in shapes.classes.items() if value in truth} <= named

    def test_the_parts_add_up_and_the_manifest_has_the_sum(self, shapes, folders):
        change(folders, IDS[7], lambda mask: mask.fill(0))
        run(shapes, folders)
        found = rows(folders / "out")
        for row in found:
            parts = float(row["disagreement"]) + float(row["uncertainty"])
            assert float(row["gain"]) == pytest.approx(parts, abs=2e-6)
        gains = [float(row["gain"]) for row in found]
        assert gains == sorted(gains, reverse=True)
        expected = 1 - sum(gains) / 100
        assert manifest(folders / "out")["expected_miou"] == pytest.approx(expected, abs=1e-6)

    def test_a_rare_class_comes_before_a_common_one(self, shapes, folders):
        """As many pixels are lost of each; the masks are drawn anew for it."""
        for place, image_id in enumerate(IDS):
            mask = np.zeros_like(read_mask(folders / f"masks/{image_id}.png"))
            mask[8:48, 8:48] = 1
            if place in (3, 4):
                mask[8:24, 8:24], mask[8:24, 24:] = 2, 0
            write_mask(folders / f"masks/{image_id}.png", mask)
            write_sure(folders / f"scores/{image_id}.npz", mask)
        for image_id in (IDS[9], IDS[4]):
            change(folders, image_id, lambda mask: mask[8:24, 8:24].fill(0))
        run(shapes, folders)
        found = {row["image"]: row for row in rows(folders / "out")}
        rare, common = found[IDS[4]], found[IDS[9]]
        assert rare["rank"] == "1"
        assert rare["classes"].startswith("star ")
        assert float(rare["disagreement"]) > 3 * float(common["disagreement"]) > 0
        # as many pixels, but for where scores are between their cells
        assert float(rare["wrong_pixels"]) < 1.2 * float(common["wrong_pixels"])

    def test_equal_ones_stand_by_name(self, shapes, folders):
        mask = np.zeros((72, 72), np.uint8)
        mask[8:16] = 1
        for image_id in IDS:
            write_mask(folders / f"masks/{image_id}.png", mask)
            write_sure(folders / f"scores/{image_id}.npz", mask)
        run(shapes, folders)
        assert ranking(folders / "out") == IDS
        assert (folders / "out/suggest.txt").read_text().splitlines() == IDS

    def test_given_again_the_files_are_the_same(self, shapes, folders):
        for name in ("out", "out", "again"):
            run(shapes, folders, name, pictures=2)
        first, again = (contents(folders / name) for name in ("out", "again"))
        for name in ("suggest.csv", "suggest.txt", "suggest.png"):
            assert first[name] == again[name]


class TestTrusted:
    def test_corrected_images_are_left_out(self, shapes, folders):
        change(folders, IDS[7], lambda mask: mask.fill(0))
        run(shapes, folders, "before")
        truth = read_mask(shapes.root / shapes.masks / f"{IDS[7]}.png")
        write_mask(folders / f"corrected/{IDS[7]}.png", truth)
        run(shapes, folders, trusted=folders / "corrected")
        before, after = (ranking(folders / name) for name in ("before", "out"))
        assert before[0] == IDS[7]
        assert sorted(after) == sorted(set(IDS) - {IDS[7]})
        facts = manifest(folders / "out")
        assert (facts["images"], facts["trusted_images"], facts["trusted_elsewhere"]) == (11, 1, 0)
        # what was wrong is right now, and expected to be
        assert facts["expected_miou"] > manifest(folders / "before")["expected_miou"] + 0.02

    def test_nothing_is_read_of_them(self, shapes, folders):
        for name in ("masks/train_0002.png", "scores/train_0002.npz"):
            (folders / name).unlink()
        mask = read_mask(shapes.root / shapes.masks / f"{IDS[2]}.png")
        write_mask(folders / f"corrected/{IDS[2]}.png", mask)
        run(shapes, folders, trusted=folders / "corrected")
        assert len(rows(folders / "out")) == 11

    def test_when_all_are_corrected(self, shapes, folders):
        with pytest.raises(ValueError, match="trusted: every image of train has a corrected mask"):
            run(shapes, folders, trusted=shapes.root / shapes.masks)


class TestRefused:
    @pytest.mark.parametrize(
        ("file", "message"),
        [
            ("masks/train_0005.png", r"1 masks are missing, for example .*train_0005\.png"),
            ("scores/train_0005.npz", r"scores: 1 of 12 images have none.*0005\.npz.*save_scores"),
        ],
    )
    def test_what_is_missing_is_named_first(self, shapes, folders, file, message):
        (folders / file).unlink()
        with pytest.raises(FileNotFoundError, match=message):
            run(shapes, folders)
        assert not (folders / "out").exists()

    def test_sizes(self, shapes, folders):
        write_mask(folders / f"masks/{IDS[1]}.png", np.zeros((40, 72), np.uint8))
        with pytest.raises(
            ValueError, match=r"0001\.png is 72 x 40 pixels, but .*0001\.npz is \d+ x 72"
        ):
            run(shapes, folders)

    def test_pictures(self, shapes, folders):
        with pytest.raises(ValueError, match="pictures: expected at least 0, got -1"):
            run(shapes, folders, pictures=-1)


def test_on_a_shell_the_first_rows_are_shown(shapes, folders, capsys):
    change(folders, IDS[7], lambda mask: mask.fill(0))
    words = {
        "data.root": shapes.root, "data.classes": dict(shapes.classes), "masks": folders / "masks",
        "scores": folders, "output": folders / "out", "pictures": 3,
    }  # fmt: skip
    assert command("suggest", [f"--{key}={value}" for key, value in words.items()]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("rank,image,gain")
    assert printed[1].startswith(f"1,{IDS[7]},")
    assert len(printed) == 12
    assert (folders / "out/suggest.png").is_file()
