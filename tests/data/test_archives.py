"""Files out of archives, whatever these hold, and the counts at the end."""

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from tests.data.archived import EVIL, pack_tar, pack_zip, state, truncate, unpack
from wsss.data.archives import (
    Archive,
    absent,
    check_counts,
    count_complete,
    fetch,
    format_counts,
    read_members,
)

URL, MD5 = "https://example.org/set.tar", "0123456789abcdef0123456789abcdef"
WANTED = {f"in/{name}.txt": name.encode() * 4000 for name in "abc"}
FILES = {
    **EVIL,
    **{f"set/v1/{name}": content for name, content in WANTED.items()},
    "set/v1/not_asked_for": b"x",
}
PACK = {
    "set.tar": pack_tar,
    "set.tgz": lambda path, files: pack_tar(path, files, "w:gz"),
    "set.zip": pack_zip,
    "set": unpack,
}


def source(path, **changes) -> Archive:
    return Archive(
        **{"path": path, "option": "--set", "url": URL, "md5": MD5, "prefix": "set/v1"} | changes
    )


@pytest.fixture(params=PACK)
def packed(request, tmp_path) -> Path:
    """The files in each kind of archive, and as a folder."""
    return PACK[request.param](tmp_path / "archives" / request.param, FILES)


def error_of(found: Archive) -> str | None:
    """The message of the one error that may come when an archive is read."""
    try:
        dict(read_members(found, WANTED))
    except ValueError as error:
        return str(error)
    return None


def contents(root) -> dict[str, bytes]:
    return {name: content for name, (_, content) in state(root).items()}


class TestFetch:
    def test_what_is_asked_for_comes_and_nothing_else(self, packed, tmp_path):
        (tmp_path / "deep").mkdir()
        fetch(source(packed), tmp_path / "deep/root", WANTED)
        assert contents(tmp_path / "deep") == {f"root/{n}": c for n, c in WANTED.items()}
        assert not (tmp_path / "evil").exists()
        assert not Path("/tmp/evil_of_wsss").exists()

    def test_what_is_there_is_left_alone(self, packed, tmp_path):
        root = unpack(tmp_path / "root", {"in/a.txt": b"mine"})
        before = state(root)
        fetch(source(packed), root, WANTED)
        assert contents(root) == {**WANTED, "in/a.txt": b"mine"}
        assert state(root)["in/a.txt"] == before["in/a.txt"]

    def test_a_complete_folder_needs_no_archive(self, tmp_path):
        root = unpack(tmp_path / "root", WANTED)
        before = state(root)
        fetch(source(tmp_path / "none.tar"), root, WANTED)
        assert state(root) == before

    def test_an_interruption_keeps_what_is_whole(self, packed, tmp_path, monkeypatch):
        import wsss.data.archives as module

        real, root = module.atomic_write, tmp_path / "root"

        def interrupted(path):
            if path.name == "b.txt":
                raise KeyboardInterrupt
            return real(path)

        monkeypatch.setattr(module, "atomic_write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch(source(packed), root, WANTED)
        before = state(root)
        assert set(before) == {"in/a.txt"}
        monkeypatch.setattr(module, "atomic_write", real)
        fetch(source(packed), root, WANTED)
        assert contents(root) == WANTED
        assert state(root)["in/a.txt"] == before["in/a.txt"]

    def test_a_tar_of_names_with_a_leading_dot(self, tmp_path):
        files = {f"./{name}": content for name, content in FILES.items()}
        path = pack_tar(tmp_path / "set.tar", files)
        assert dict(read_members(source(path), WANTED)) == WANTED

    @pytest.mark.parametrize("below", ["", "set", "set/v1"])
    def test_a_folder_may_be_any_on_the_way_to_the_files(self, tmp_path, below):
        unpack(tmp_path / "set_of_mine", FILES)
        found = read_members(source(tmp_path / "set_of_mine" / below), WANTED)
        assert dict(found) == WANTED

    def test_of_a_name_twice_the_first_counts(self, tmp_path):
        with tarfile.open(tmp_path / "set.tar", "w") as archive:
            for content in (b"one", b"two"):
                member = tarfile.TarInfo("a")
                member.size = 3
                archive.addfile(member, io.BytesIO(content))
        found = list(read_members(source(tmp_path / "set.tar", prefix=""), ["a"]))
        assert found == [("a", b"one")]


class TestRefused:
    @pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
    def test_a_link_in_place_of_a_file(self, tmp_path, kind):
        (tmp_path / "secret").write_text("secret")
        with tarfile.open(tmp_path / "set.tar", "w") as archive:
            member = tarfile.TarInfo("in/a.txt")
            member.type = kind
            member.linkname = str(tmp_path / "secret")
            archive.addfile(member)
        with pytest.raises(ValueError, match=r"set\.tar: in/a\.txt is no file but a link"):
            fetch(source(tmp_path / "set.tar", prefix=""), tmp_path / "root", ["in/a.txt"])
        assert not (tmp_path / "root").exists()

    def test_a_file_that_is_not_in_it(self, packed, tmp_path):
        message = rf"{packed}: 2 of 3 files are not in it, for example set/v1/no\.txt.*{URL}.*{MD5}"
        with pytest.raises(ValueError, match=message):
            fetch(source(packed), tmp_path / "root", ["no.txt", "in/a.txt", "nor.txt"])

    @pytest.mark.parametrize("kind", ["set.tar", "set.tgz", "set.zip"])
    @pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.6, 0.9])
    def test_a_truncated_archive(self, tmp_path, kind, share):
        files = {"set/v1/big": bytes(range(256)) * 300, **FILES}
        path = truncate(PACK[kind](tmp_path / kind, files), share)
        with pytest.raises(ValueError, match=rf"^{path}: (cannot be read .*{MD5}|\d of 4 files)"):
            fetch(source(path), tmp_path / "root", ["big", *WANTED])

    @pytest.mark.parametrize("kind", ["set.tar", "set.tgz", "set.zip"])
    def test_any_one_changed_byte_is_the_one_kind_of_error_or_none(self, tmp_path, kind):
        path = PACK[kind](tmp_path / kind, FILES)
        content = path.read_bytes()
        refused = 0
        for place in np.linspace(0, len(content) - 1, 300).astype(int):
            changed = bytearray(content)
            changed[place] ^= 0xFF
            path.write_bytes(changed)
            message = error_of(source(path))
            assert message is None or message.startswith(f"{path}: ")
            refused += message is not None
        assert refused > 10

    @pytest.mark.parametrize("kind", ["set.tgz", "set.zip"])
    def test_changed_bytes(self, tmp_path, kind):
        path = PACK[kind](tmp_path / kind, FILES)
        content = bytearray(path.read_bytes())
        for place in range(len(content) // 4, len(content) // 2, 3):
            content[place] ^= 0x55
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"^{path}: (cannot be read|\d of 3 files)"):
            fetch(source(path), tmp_path / "root", WANTED)

    @pytest.mark.parametrize("name", ["set.tar", "set.tgz", "set.zip"])
    def test_what_is_no_archive(self, tmp_path, name):
        (tmp_path / name).write_text("<html>404 not found</html>" * 100)
        with pytest.raises(ValueError, match=rf"{name}: cannot be read .*download it again"):
            fetch(source(tmp_path / name), tmp_path / "root", WANTED)


class TestObtaining:
    def test_without_download_the_error_says_what_to_get_and_where_to_put_it(self, tmp_path):
        path = tmp_path / "here/set.tar"
        message = rf"{path} not found: download {URL} \(md5 {MD5}\) to there.* --set.* --download"
        with pytest.raises(FileNotFoundError, match=message):
            fetch(source(path), tmp_path / "root", WANTED)

    @pytest.fixture
    def published(self, tmp_path, monkeypatch):
        """A downloader that has the archive, and checks it as torchvision's does."""
        content = pack_tar(tmp_path / "published.tar", FILES).read_bytes()
        calls = []

        def download_url(url, root, filename, md5):
            calls.append((url, filename))
            root.mkdir(parents=True, exist_ok=True)
            (root / filename).write_bytes(content)
            if hashlib.md5((root / filename).read_bytes()).hexdigest() != md5:
                raise RuntimeError("File not found or corrupted.")

        monkeypatch.setattr("torchvision.datasets.utils.download_url", download_url)
        return calls, hashlib.md5(content).hexdigest()

    def test_downloaded_once(self, tmp_path, published):
        calls, md5 = published
        found = source(tmp_path / "here/set.tar", md5=md5)
        fetch(found, tmp_path / "root", WANTED, download=True)
        assert contents(tmp_path / "root") == WANTED
        assert [path.name for path in (tmp_path / "here").iterdir()] == ["set.tar"]
        fetch(found, tmp_path / "root2", WANTED, download=True)
        assert calls == [(URL, "set.tar.part")]

    def test_another_file_does_not_take_the_archives_place(self, tmp_path, published):
        found = source(tmp_path / "here/set.tar")
        with pytest.raises(ValueError, match=rf"set\.tar\.part: not the file with md5 {MD5}"):
            fetch(found, tmp_path / "root", WANTED, download=True)
        assert not (tmp_path / "here/set.tar").exists()

    def test_no_network(self, tmp_path, monkeypatch):
        def download_url(*arguments):
            raise OSError("no route to host")

        monkeypatch.setattr("torchvision.datasets.utils.download_url", download_url)
        path = tmp_path / "set.tar"
        with pytest.raises(OSError, match=rf"cannot download {URL}: no route to host.*{path}"):
            fetch(source(path), tmp_path / "root", WANTED, download=True)


class TestCounts:
    def test_the_same_counts_pass(self, tmp_path):
        check_counts({"train": 3, "val": 2, "more": 1}, {"train": 3, "val": 2}, tmp_path)

    def test_every_other_count_is_named(self, tmp_path):
        message = (
            rf"^{tmp_path} is not the published data set: train: expected 1,464 images, got 3; "
            "test: expected 9 images, got 0$"
        )
        expected = {"train": 1464, "val": 2, "test": 9}
        with pytest.raises(ValueError, match=message):
            check_counts({"train": 3, "val": 2}, expected, tmp_path)

    def test_the_table(self):
        table = format_counts({"val": 7, "train_aug": 10582}, {"train_aug": 10582, "val": 1449})
        assert [line.split() for line in table.splitlines()] == [
            ["found", "expected"],
            ["train_aug", "10,582", "10,582"],
            ["val", "7", "1,449"],
        ]
        assert len({len(line) for line in table.splitlines()}) == 1

    def test_an_image_counts_if_all_its_files_are_there(self, tmp_path):
        files = ["i/a.jpg", "i/b.jpg", "i/c.jpg", "m/f/a.png", "m/f/c.png", "m/f/d.png"]
        unpack(tmp_path, dict.fromkeys(files, b""))
        patterns = ("i/{}.jpg", "m/f/{}.png")
        assert count_complete(tmp_path, list("abcd"), patterns) == 2
        assert count_complete(tmp_path, [], patterns) == 0
        assert absent(tmp_path, ["i/d.jpg", "i/a.jpg", "none/x"]) == ["i/d.jpg", "none/x"]
