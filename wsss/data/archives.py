"""Files of a published data set, from its archives or from folders they were unpacked to.

Nothing is unpacked to where an archive says. Files are asked for by name, their content is read,
and it is written where the caller says: a member that leads out of the folder is never asked for,
and no link is made or followed, whatever tarfile's extraction filters know in this Python.
"""

import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from wsss.data.atomic import atomic_write
from wsss.data.storage import existing


@dataclass(frozen=True)
class Archive:
    """Published archive of a data set.

    Args:
        path: A ``.zip``, a tar (compressed or not), or the folder that it was unpacked to. It need
            not exist as long as nothing is read from it.
        option: Option of the command line that names it, for errors.
        url: Where it is published.
        md5: Checksum of the published file.
        prefix: Folder inside the archive that the names below are relative to.
    """

    path: Path
    option: str
    url: str
    md5: str
    prefix: str = ""


def fetch(archive: Archive, root: Path, names: Iterable[str], *, download: bool = False) -> None:
    """Fetch the files that are missing below ``root``, each whole or not at all.

    If none is missing, the archive is not even looked for.

    Args:
        archive: The archive.
        root: Folder to write to.
        names: Paths of the files, relative to the archive's prefix and to ``root``.
        download: See `read_members`.

    Raises:
        FileNotFoundError, ValueError, OSError: See `read_members`.
    """
    missing = absent(root, names)
    for name, content in read_members(archive, missing, download=download):
        with atomic_write(root / name) as file:
            file.write(content)


def absent(root: Path, names: Iterable[str]) -> list[str]:
    """Names of the files that are missing below ``root``, in their order."""
    paths = {name: root / name for name in names}
    there = existing(paths.values())
    return [name for name, path in paths.items() if path not in there]


def read_members(
    archive: Archive, names: Collection[str], *, download: bool = False
) -> Iterator[tuple[str, bytes]]:
    """Read files of an archive, in the order in which they lie there.

    Args:
        archive: The archive.
        names: Which files, relative to the archive's prefix; for none, nothing is opened.
        download: If the archive does not exist, download it to ``archive.path`` with torchvision.

    Yields:
        Name, as asked for, and content.

    Raises:
        FileNotFoundError: There is no such archive; the message says what to download from where.
        ValueError: The archive cannot be read, lacks a file, or holds a link in a file's place; or
            the download is not the published file.
        OSError: The download failed.
    """
    if not names:
        return
    if not archive.path.exists():
        _obtain(archive, download)
    left = {f"{archive.prefix}/{name}" if archive.prefix else name: name for name in names}
    if archive.path.is_dir():
        found = _from_folder(archive, left)
    elif archive.path.suffix.lower() == ".zip":
        found = _from_zip(archive.path, left)
    else:
        found = _from_tar(archive.path, left)
    try:
        for member, content in tqdm(
            found, total=len(left), desc=archive.path.name, unit="file", disable=None
        ):
            yield left.pop(member), content
    except _DAMAGE as error:
        reason = str(error).split("\n")[0]  # tarfile lists every compression that it tried
        raise ValueError(
            f"{archive.path}: cannot be read ({reason}); if it is damaged, download it again: "
            f"{archive.url}, md5 {archive.md5}"
        ) from error
    if left:
        raise ValueError(
            f"{archive.path}: {len(left)} of {len(names)} files are not in it, for example "
            f"{next(iter(left))}; expected what {archive.url} holds (md5 {archive.md5})"
        )


_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,  # gzip's checksum, and a seek to where a damaged table of contents points
    UnicodeDecodeError,  # a damaged name in a zip
    RuntimeError,  # zipfile's word for an encrypted member, or one packed in a way it cannot read
)


def _obtain(archive: Archive, download: bool) -> None:
    """Download an archive, under another name until it is whole."""
    if not download:
        raise FileNotFoundError(
            f"{archive.path} not found: download {archive.url} (md5 {archive.md5}) to there, name "
            f"the archive or the folder it was unpacked to by {archive.option}, or give --download"
        )
    # imported here: only a download needs torchvision
    from torchvision.datasets.utils import download_url

    partial = archive.path.with_name(f"{archive.path.name}.part")
    try:
        download_url(archive.url, partial.parent, partial.name, archive.md5)
    except OSError as error:
        raise OSError(
            f"cannot download {archive.url}: {error}; download it by other means to {archive.path}"
        ) from error
    except RuntimeError as error:
        raise ValueError(
            f"{partial}: not the file with md5 {archive.md5} that {archive.url} held: {error}"
        ) from error
    partial.replace(archive.path)


def _from_tar(path: Path, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Yield members by name. The caller removes a name from ``names`` when its member has come."""
    with tarfile.open(path) as archive:
        for member in archive:
            name = member.name.removeprefix("./")  # which tar writes if it was given a dot
            if name not in names:
                continue
            content = archive.extractfile(member) if member.isfile() else None
            if content is None:
                raise ValueError(f"{path}: {member.name} is no file but a link, folder or device")
            yield name, content.read()
            # a tar has no table of contents: without this, it would be read to its end
            if not names:
                return


def _from_zip(path: Path, names: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Yield members by name; see `_from_tar`."""
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.filename in names:
                yield member.filename, archive.read(member)


def _from_folder(archive: Archive, names: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """Yield files by name from the folder that an archive was unpacked to."""
    # people name the folder that holds the archive's own, or any on the path down the prefix
    parts = Path(archive.prefix).parts
    bases = [archive.path.joinpath(*parts[depth:]) for depth in range(len(parts) + 1)]
    for member, name in list(names.items()):
        path = next((base / name for base in bases if (base / name).is_file()), None)
        if path is not None:
            yield member, path.read_bytes()


def count_complete(root: Path, ids: Sequence[str], patterns: Iterable[str]) -> int:
    """Number of ids that have all their files.

    Args:
        root: Folder of the data set.
        ids: Image ids.
        patterns: Paths below ``root`` with ``{}`` for the id, such as ``JPEGImages/{}.jpg``.
    """
    # pattern by pattern, so that each folder is listed once
    incomplete = set()
    for pattern in patterns:
        names = {pattern.format(image_id): image_id for image_id in ids}
        incomplete |= {names[name] for name in absent(root, names)}
    return len(ids) - len(incomplete)


def check_counts(found: Mapping[str, int], expected: Mapping[str, int], root: Path) -> None:
    """Compare the number of images of each list with what is published.

    Raises:
        ValueError: A count differs; the message names the data set's folder and each such list,
            with both numbers.
    """
    wrong = [
        f"{name}: expected {count:,} images, got {found.get(name, 0):,}"
        for name, count in expected.items()
        if found.get(name, 0) != count
    ]
    if wrong:
        raise ValueError(f"{root} is not the published data set: {'; '.join(wrong)}")


def format_counts(found: Mapping[str, int], expected: Mapping[str, int]) -> str:
    """Table of the numbers of images found and expected, for a terminal."""
    width = max(map(len, expected))
    rows = [f"{'':{width}}  {'found':>8}  {'expected':>8}"]
    rows += [f"{name:{width}}  {found[name]:8,}  {count:8,}" for name, count in expected.items()]
    return "\n".join(rows)
