"""Files are whole or not there."""

import errno
import os

import pytest

from wsss.data.atomic import atomic_write, atomic_write_text


def test_content_arrives_whole_and_folders_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "c.bin"
    with atomic_write(path) as file:
        file.write(b"first")
        file.flush()
        assert not path.exists(), "a reader saw half a file"
        file.write(b" second")
    assert path.read_bytes() == b"first second"
    assert [p.name for p in path.parent.iterdir()] == ["c.bin"]


def write_and_fail(path, error) -> None:
    with atomic_write(path) as file:
        file.write(b"new and hal")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_nothing_behind(tmp_path, error):
    with pytest.raises(error):
        write_and_fail(tmp_path / "a.bin", error)
    assert list(tmp_path.iterdir()) == []


def test_an_exception_leaves_the_old_file_as_it_was(tmp_path):
    path = tmp_path / "a.txt"
    atomic_write_text(path, "old")
    with pytest.raises(ZeroDivisionError):
        write_and_fail(path, ZeroDivisionError)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_failing_rename_leaves_nothing_behind(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "full").write_text("")
    with pytest.raises(OSError, match="directory"), atomic_write(tmp_path / "a") as file:
        file.write(b"x")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_file_is_replaced(tmp_path):
    for text in ("one", "two"):
        atomic_write_text(tmp_path / "a", text)
    assert (tmp_path / "a").read_text() == "two"


def test_text_is_utf_8(tmp_path):
    atomic_write_text(tmp_path / "a", "ёж 猫")
    assert (tmp_path / "a").read_bytes() == "ёж 猫".encode()


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_are_those_of_an_ordinary_file(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        atomic_write_text(tmp_path / "a", "x")
        assert os.umask(umask) == umask, "the mask of the process was changed"
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == mode


def test_below_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        atomic_write_text(tmp_path / "file" / "a", "x")


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, OSError), (errno.EDQUOT, OSError), (errno.EIO, OSError)]
)
def test_a_full_disk_names_the_file(tmp_path, number, kind):
    path = tmp_path / "masks/a.png"
    with pytest.raises(kind, match=rf"{os.strerror(number)}: '.*masks/a\.png'"), atomic_write(path):
        raise OSError(number, os.strerror(number))
    assert list(path.parent.iterdir()) == []


def test_an_error_that_names_another_file_stays(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"other\.jpg"), atomic_write(tmp_path / "a.png"):
        (tmp_path / "other.jpg").read_bytes()
