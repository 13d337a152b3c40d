"""Pictures that an author lets go with a card: none but those that are named."""

from pathlib import Path

from wsss.data.atomic import atomic_write

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".svg")


def find_pictures(folder: Path | None, licence: str | None) -> list[Path]:
    """List the pictures of a folder.

    Args:
        folder: The folder; None for no pictures.
        licence: Their licence, which must be said.

    Raises:
        FileNotFoundError: There is no such folder, or no picture in it.
        ValueError: Their licence is not said.
    """
    if folder is None:
        return []
    if not licence:
        raise ValueError(
            "pictures_licence: say under which licence the pictures are shown; those of training "
            "photographs belong to their photographers"
        )
    if not folder.is_dir():
        raise FileNotFoundError(f"pictures: no such folder: {folder}")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
    if not found:
        raise FileNotFoundError(f"pictures: {folder} holds no picture ({', '.join(_SUFFIXES)})")
    return found


def copy_pictures(pictures: list[Path], folder: Path) -> list[str]:
    """Copy pictures below the folder of a card; return their names there."""
    for path in pictures:
        with atomic_write(folder / "pictures" / path.name) as file:
            file.write(path.read_bytes())
    return [f"pictures/{path.name}" for path in pictures]
