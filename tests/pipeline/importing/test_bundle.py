"""Files, folders and archives."""

import zipfile

import pytest

from wsss.pipeline.importing.bundle import entries_of


def test_a_file_a_folder_and_an_archive_hold_the_same(tmp_path):
    files = {"a.JSON": b"1", "in/ü.txt": "é".encode(), "in/b.xml": b"3"}
    hidden = {".DS_Store": b"", "__MACOSX/a.JSON": b"", "in/._b.xml": b""}
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name, content in {**files, **hidden}.items():
            path = tmp_path / "folder" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            archive.writestr(name, content)
    for source in (tmp_path / "folder", tmp_path / "all.zip"):
        entries = entries_of(source)
        assert {entry.path: entry.read() for entry in entries} == files
        assert [entry.suffix for entry in entries] == [".json", ".xml", ".txt"]
        assert entries[2].text() == "é"
        assert all(str(source) in entry.origin for entry in entries)
    [entry] = entries_of(tmp_path / "folder/a.JSON")
    assert (entry.path, entry.read()) == ("a.JSON", b"1")


def test_what_is_not_there_or_damaged(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"source: no such file or folder: .*none\.zip"):
        entries_of(tmp_path / "none.zip")
    (tmp_path / "x.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"x\.zip is no ZIP archive, or damaged"):
        entries_of(tmp_path / "x.zip")
    with zipfile.ZipFile(tmp_path / "y.zip", "w") as archive:
        archive.writestr("a.txt", b"a" * 99)
    content = (tmp_path / "y.zip").read_bytes().replace(b"a" * 99, b"b" * 99)
    (tmp_path / "y.zip").write_bytes(content)
    with pytest.raises(ValueError, match=r"y\.zip: cannot read a\.txt"):
        entries_of(tmp_path / "y.zip")[0].read()


def test_texts_of_another_encoding_are_named(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"ok\n\xff")
    with pytest.raises(ValueError, match=r"a\.txt, line 2: not UTF-8"):
        entries_of(tmp_path)[0].text()
