"""Checkpoints of segment-anything networks: folders in the layout of transformers."""

import functools
import hashlib
import json
import re
from pathlib import Path

from wsss.data.storage import file_sha256, is_remote, to_path

KINDS = ("sam", "sam2", "sam2_video", "sam3_tracker", "sam3_video")
"""Values of ``model_type`` whose networks are prompted by points: SAM, SAM 2 and SAM 3."""

_FILES = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "*.safetensors",
    "*.safetensors.index.json",
)
"""All that decides what a network gives."""

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def folder_of(checkpoint: Path | str) -> Path:
    """Find the folder of a checkpoint, which for a name of the hub is the hub's own cache.

    A folder that is there is taken before a name, and without asking any network.

    Raises:
        FileNotFoundError: There is no such folder, and the hub has no such name or is not reached.
        ImportError: A name of the hub, and huggingface_hub is not installed.
        ValueError: It holds no segment-anything network; the message says what it holds.
    """
    path = to_path(checkpoint)
    if is_remote(path):
        raise ValueError(
            f"sam.checkpoint: expected a folder on this machine or a name of the hub, got "
            f"{checkpoint}; copy it to a folder"
        )
    folder = path if path.is_dir() else _downloaded(path)
    _check_kind(folder)
    return folder


def checkpoint_sha256(checkpoint: Path | str) -> str:
    """SHA-256, in hex, of a network's configuration, its image processor's, and its weights.

    Raises:
        FileNotFoundError, ImportError, ValueError: See `folder_of`.
    """
    folder = folder_of(checkpoint)
    digest = hashlib.sha256()
    for path in sorted(path for pattern in _FILES for path in folder.glob(pattern)):
        stat = path.stat()
        digest.update(f"{path.name} {_sha256(path, stat.st_mtime_ns, stat.st_size)}\n".encode())
    return digest.hexdigest()


@functools.lru_cache(maxsize=64)
def _sha256(path: Path, written: int, size: int) -> str:
    """SHA-256 of a file, read once as long as it stays as it is: weights may have gigabytes."""
    return file_sha256(path)


def _check_kind(folder: Path) -> None:
    """Refuse what is no segment-anything network, before anything is loaded."""
    file = folder / "config.json"
    if not file.is_file():
        raise FileNotFoundError(
            f"sam.checkpoint: no config.json in {folder}; expected a folder in the layout of "
            "transformers, as save_pretrained writes it"
        )
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        kind = config.get("model_type") if isinstance(config, dict) else None
    except ValueError as error:
        raise ValueError(f"sam.checkpoint: {file} is damaged: {error}") from error
    if kind not in KINDS:
        raise ValueError(
            f"sam.checkpoint: expected a segment-anything network (model_type {', '.join(KINDS)}), "
            f"found model_type {kind!r} in {folder}"
        )
    if not any(folder.glob("*.safetensors")):
        raise FileNotFoundError(f"sam.checkpoint: no weights (*.safetensors) in {folder}")


def _downloaded(name: Path) -> Path:
    """Folder of a name of the hub: what it holds, or without the hub what was kept of it."""
    if not _HUB_NAME.fullmatch(name.as_posix()):
        raise FileNotFoundError(f"sam.checkpoint: no such folder: {name}")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ImportError("refine: sam needs huggingface_hub: pip install 'wsss[sam]'") from error
    try:
        return Path(snapshot_download(name.as_posix(), allow_patterns=list(_FILES)))
    # what huggingface_hub raises are of many kinds, of these two families
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"sam.checkpoint: no such folder, and nothing of that name from the hub: {name}: "
            f"{error}"
        ) from error
