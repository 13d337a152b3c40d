"""Text to path, and object stores beside folders: the same content, whole, in few requests."""

import pickle
import subprocess
import sys
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from wsss.data import (
    DataConfig,
    ImageReadError,
    Scores,
    load_records,
    read_image,
    read_mask,
    read_scores,
    to_path,
    write_mask,
    write_scores,
)
from wsss.data.atomic import atomic_write, atomic_write_text
from wsss.data.images import find_images
from wsss.data.storage import (
    below,
    existing,
    file_names,
    is_remote,
    is_store_error,
    readable,
    require_whole,
)


@pytest.fixture(params=["folder", "store"])
def place(request, tmp_path):
    """The same test in a folder and in a store."""
    return tmp_path if request.param == "folder" else request.getfixturevalue("store")


class TestToPath:
    @pytest.mark.parametrize("text", ["s3://b/x", "gs://b/x", "az://c/x", "memory://x/y"])
    def test_a_url_keeps_its_text(self, text):
        path = to_path(text)
        assert is_remote(path)
        assert str(path) == text
        assert str(path / "2007" / "a b.png") == f"{text}/2007/a b.png"
        assert to_path(str(path / "a.png")) == path / "a.png"
        # our own object there and back: processes that are started afresh receive paths so
        assert pickle.loads(pickle.dumps(path)) == path

    @pytest.mark.parametrize(
        "text", ["a/b", "/tmp/x", "C:\\x", "C://x", "a:b", "s3:/b/x", "x/s3://b", "", "./s3://b"]
    )
    def test_other_texts_are_local(self, text):
        assert to_path(text) == Path(text)
        assert isinstance(to_path(text), Path)
        assert not is_remote(to_path(text))

    def test_file_urls_are_local(self, tmp_path):
        path = tmp_path / "a b"
        assert to_path(path.as_uri()) == path
        assert type(to_path(f"FILE://localhost{tmp_path}")) is type(path)
        with pytest.raises(ValueError, match="file://tmp/x: expected three slashes"):
            to_path("file://tmp/x")

    def test_an_unknown_scheme_is_named(self):
        with pytest.raises(ValueError, match=r"^s4://b/x: not a URL that fsspec knows"):
            to_path("s4://b/x")

    @pytest.mark.parametrize(
        "text", ["sftp://me@host/x", "abfs://c@account.dfs.core.windows.net/x"]
    )
    def test_a_url_that_its_text_would_not_repeat_is_refused(self, text):
        with pytest.raises(ValueError, match=r"expected a bucket and a key"):
            to_path(text)

    def test_a_missing_package_is_named_when_a_file_is_asked_for(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "gcsfs", None)
        path = to_path("gs://bucket/x")
        with pytest.raises(ImportError, match="gcsfs"):
            path.is_dir()
        with pytest.raises(ImportError, match="gcsfs"):
            read_image(path)

    @pytest.mark.slow
    def test_local_runs_load_no_upath(self):
        code = (
            "import sys, wsss.pipeline.mask_making.writing; from pathlib import Path\n"
            "from wsss.data.storage import *; to_path('a'); is_remote(Path('a')); existing([])\n"
            "assert not {'upath', 'fsspec'} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True)


class TestPathsOfADataSet:
    def test_below_its_root_unless_absolute_or_a_url(self):
        for root in (Path("/data"), to_path("memory://data")):
            assert below(root, Path("a/b")) == root / "a" / "b"
            assert below(root, Path("/labels.csv")) == Path("/labels.csv")
            assert below(root, to_path("s3://b/masks")) == to_path("s3://b/masks")

    def test_separators_of_windows_do_not_become_part_of_a_key(self):
        root = to_path("memory://data")
        assert below(root, PureWindowsPath("ImageSets\\Main")) == root / "ImageSets" / "Main"

    @pytest.mark.parametrize("text", ["s3://bucket/voc", "memory://voc"])
    def test_a_url_that_went_through_pathlib_is_refused(self, text):
        with pytest.raises(ValueError, match=r"^data.root: .* was a URL"):
            DataConfig(root=Path(text))
        require_whole(Path("C:/voc"), "output")
        require_whole(Path("/s3:/voc"), "output")


class TestContent:
    def test_masks_and_scores_are_the_same_bytes_everywhere(self, tmp_path, store):
        mask = np.arange(35, dtype=np.uint8).reshape(5, 7)
        scores = Scores(np.array([3], np.uint8), np.full((1, 2, 2), 9, np.uint8), (5, 7))
        for folder in (tmp_path, store):
            write_mask(folder / "m/a.png", mask)
            write_scores(folder / "s/a.npz", scores)
            assert np.array_equal(read_mask(folder / "m/a.png"), mask)
            found = read_scores(folder / "s/a.npz")
            assert found.size == scores.size
            assert np.array_equal(found.scores, scores.scores)
            assert np.array_equal(read_image(str(folder / "m/a.png")).shape, (5, 7, 3))
        for name in ("m/a.png", "s/a.npz"):
            assert (store / name).read_bytes() == (tmp_path / name).read_bytes()

    @pytest.mark.parametrize(
        ("read", "what"),
        [(read_image, "image"), (read_mask, "mask"), (read_scores, "score file")],
    )
    def test_a_missing_file_is_named(self, place, read, what):
        with pytest.raises(FileNotFoundError) as caught:
            read(place / "a.png")
        assert str(caught.value) == f"{what} not found: {place / 'a.png'}"

    def test_a_damaged_image_is_named(self, place):
        atomic_write_text(place / "a.jpg", "no image")
        with pytest.raises(ImageReadError, match=str(place / "a.jpg")):
            read_image(place / "a.jpg")

    def test_what_the_store_refuses_is_named(self, store, monkeypatch):
        def forbidden(*args, **keywords):
            raise PermissionError("Forbidden")

        monkeypatch.setattr(MemoryFileSystem, "cat_file", forbidden)
        monkeypatch.setattr(MemoryFileSystem, "pipe_file", forbidden)
        with pytest.raises(OSError, match=f"cannot read mask {store}/a.png: Forbidden"):
            readable(store / "a.png", "mask")
        with pytest.raises(OSError, match=f"cannot write {store}/a.png: Forbidden"):
            atomic_write_text(store / "a.png", "x")


class TestWriting:
    def test_nothing_is_there_before_everything_is(self, store):
        path = store / "a" / "b.bin"
        with atomic_write(path) as file:
            file.write(b"first")
            file.flush()
            assert not path.exists(), "a reader saw half a file"
            file.write(b" second")
        assert path.read_bytes() == b"first second"
        assert file_names(store / "a") == {"b.bin"}

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
    def test_an_interrupted_write_leaves_nothing(self, store, error):
        def write(name):
            with atomic_write(store / name) as file:
                file.write(b"new and hal")
                raise error

        atomic_write_text(store / "old", "old")
        for name in ("old", "new"):
            with pytest.raises(error):
                write(name)
        assert file_names(store) == {"old"}
        assert (store / "old").read_text() == "old"


class TestListing:
    def test_files_and_no_folders(self, place):
        for name in ("a.png", "b/c.png"):
            atomic_write_text(place / name, "")
        assert file_names(place) == {"a.png"}
        assert file_names(place / "b") == {"c.png"}
        assert file_names(place / "nothing") == set()
        assert file_names(place / "a.png" / "below") == set()

    def test_links_count_as_what_they_lead_to(self, tmp_path):
        (tmp_path / "there").write_text("")
        (tmp_path / "good").symlink_to(tmp_path / "there")
        (tmp_path / "broken").symlink_to(tmp_path / "nothing")
        (tmp_path / "folder").symlink_to(tmp_path)
        assert file_names(tmp_path) == {"there", "good"}

    def test_existing_in_several_folders(self, place):
        names = ["a.png", "2007/a.png", "2007/b.png", "2008/a.png"]
        for name in names[:3]:
            atomic_write_text(place / name, "")
        assert existing(place / name for name in names) == {place / name for name in names[:3]}
        assert existing([place / "2007"]) == set(), "a folder is no file"

    def test_images_of_ids_in_folders(self, place):
        for name in ("2007/a.png", "2007/b.JPG", "c.webp", "2007/c.jpg", "d.png/x"):
            atomic_write_text(place / name, "")
        ids = ["2007/a", "2007/b", "c", "d", "2008/a"]
        found = find_images(place, ids)
        wanted = ["2007/a.png", "2007/b.JPG", "c.webp", "d.jpg", "2008/a.jpg"]
        assert found == {i: place / name for i, name in zip(ids, wanted, strict=True)}

    def test_a_listing_is_never_an_old_one(self, store, monkeypatch):
        asked = []
        monkeypatch.setattr(
            MemoryFileSystem, "invalidate_cache", lambda self, path=None: asked.append(path)
        )
        file_names(store)
        assert asked[0] == store.path


def test_records_ask_little(remote_shapes, monkeypatch):
    """As many requests for two images as for twelve."""
    requests = []
    for name in ("ls", "info", "exists", "isfile", "isdir", "cat_file", "_open"):
        old = getattr(MemoryFileSystem, name)

        def counted(self, *args, _old=old, _name=name, **keywords):
            requests.append(_name)
            return _old(self, *args, **keywords)

        monkeypatch.setattr(MemoryFileSystem, name, counted)
    numbers = []
    for limit in (2, 12):
        requests.clear()
        records = load_records(remote_shapes, "train", with_labels=True, limit=limit)
        existing(record.mask for record in records)
        numbers.append(len(requests))
    assert numbers[0] == numbers[1]
    assert len(records) == 12


def test_records_are_those_of_the_folder(shapes, remote_shapes):
    there = load_records(remote_shapes, "train", with_labels=True)
    for here, one in zip(load_records(shapes, "train", with_labels=True), there, strict=True):
        assert one.image_id == here.image_id
        assert np.array_equal(one.labels, here.labels)
        assert np.array_equal(read_image(one.image), read_image(here.image))
        assert np.array_equal(read_mask(one.mask), read_mask(here.mask))


def test_lists_and_labels_that_are_missing_are_named(remote_shapes):
    with pytest.raises(FileNotFoundError, match="the lists in that folder are: train, val"):
        load_records(remote_shapes, "test", with_labels=False)
    voc = DataConfig(root=remote_shapes.root, classes=remote_shapes.classes, labels=None)
    with pytest.raises(FileNotFoundError, match=r"annotation not found: memory:.*set data.labels"):
        load_records(voc, "train", with_labels=True)
    with pytest.raises(FileNotFoundError, match=r"data.root: no such folder: memory://nothing"):
        load_records(DataConfig(root=to_path("memory://nothing")), "train", with_labels=False)


def test_annotations_in_a_store(remote_shapes):
    path = remote_shapes.root / "Annotations" / "train_0000.xml"
    atomic_write_text(path, "<annotation><object><name>star</name></object></annotation>")
    voc = DataConfig(root=remote_shapes.root, classes=remote_shapes.classes, labels=None)
    records = load_records(voc, "train", with_labels=True, limit=1)
    assert records[0].labels.tolist() == [0, 1, 0, 0, 0]


def test_errors_of_a_store_are_told_from_our_own():
    theirs = type("NoCredentialsError", (Exception,), {"__module__": "botocore.exceptions"})
    assert is_store_error(theirs())
    assert is_store_error(type("Ours", (theirs,), {})())
    assert not is_store_error(KeyError("x"))
