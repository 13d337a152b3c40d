"""Networks of a run: the one that a card is about, and those that it was made with."""

from dataclasses import dataclass
from pathlib import Path

from wsss.data.hub import MODEL
from wsss.data.storage import file_sha256
from wsss.pipeline.publishing.road import Road
from wsss.tasks.checkpoint_files import read_checkpoint

_FILES = ("best.ckpt", "last.ckpt")
"""What a training leaves; the first one there is what its command returns."""

_ORDER = (("segmenter",), ("classifier", "text_classifier"), ("boundary",))
"""Kinds of networks: a run with some of the first is about those."""


@dataclass(frozen=True)
class Network:
    """A network of a run.

    Args:
        step: Name of the step that made it.
        kind: Kind of the network.
        checkpoint: Its file.
        file: Its name as safetensors beside the card.
        classes: Names of the classes and their values in masks.
    """

    step: str
    kind: str
    checkpoint: Path
    file: str
    classes: dict[str, int]


def find_networks(road: Road, wanted: str | None) -> list[Network]:
    """Find the network that a card is about, and those that its road used.

    Args:
        road: The run.
        wanted: Name of the step that made it; None: the run must have one alone that is not a mere
            step on the way to another.

    Returns:
        The network, then the others in the order of the road.

    Raises:
        ValueError: There is none, or several and none is named.
    """
    kinds = {}
    for name in road.steps:
        files = _checkpoints(road, name)
        # a round of self_train has its network in that of the whole
        if files and not road.inside(name):
            kinds[name] = read_checkpoint(files[0]).kind
    if wanted is not None and wanted not in kinds:
        raise ValueError(
            f"network: expected a step that made one ({', '.join(kinds) or 'there is none'}), got "
            f"{wanted}"
        )
    main = wanted or _only(road, kinds)
    _check_users(road, main)
    return [
        _network(name, file, main, several=len(files) > 1)
        for name in [main, *(step for step in road.before(main) if step in kinds)]
        for files in [_checkpoints(road, name)]
        for file in files
    ]


def _checkpoints(road: Road, name: str) -> list[Path]:
    """Checkpoints of a step that others used; if none did, the one that its command returns."""
    there = [file for file in _FILES if (road.steps[name].path / file).is_file()]
    used = [file for file in there if file in road.files[name]]
    return [road.steps[name].path / file for file in used or there[:1]]


def _check_users(road: Road, main: str) -> None:
    """Refuse a network whose scores are those of an earlier state of its file."""
    there = {file_sha256(file) for file in _checkpoints(road, main)}
    for name, used in road.used.items():
        seen = road.steps[name].manifest["identity"].get("checkpoint_sha256")
        if main in used and seen is not None and seen not in there:
            raise ValueError(
                f"run: {name} was made with another checkpoint than the one that {main} holds now, "
                f"so that its scores are not those of the network; run {name} again"
            )


def _only(road: Road, kinds: dict[str, str | None]) -> str:
    """The one network that none of its like used."""
    for group in _ORDER:
        like = [name for name, kind in kinds.items() if kind in group]
        last = [name for name in like if not any(name in road.before(other) for other in like)]
        if len(last) == 1:
            return last[0]
        if last:
            raise ValueError(
                f"network: the run has several, {', '.join(last)}; name the one that the card is "
                f"about, as --network {last[0]}"
            )
    raise ValueError(
        f"run: no checkpoint ({', '.join(_FILES)}) in a finished step among "
        f"{', '.join(road.steps) or 'none'}; a step that was cut off goes on when its command is "
        "given again"
    )


def _network(name: str, file: Path, main: str, *, several: bool) -> Network:
    description = read_checkpoint(file).description
    if description is None:
        raise ValueError(f"run: {file} is no checkpoint of ours")
    # of two checkpoints of one network, the one that its command returns goes by the name alone
    title = f"{name.replace('/', '-')}-{file.stem}" if several else name.replace("/", "-")
    is_main = name == main and (not several or file.name == _FILES[0])
    return Network(
        step=name,
        kind=description["kind"],
        checkpoint=file,
        file=MODEL if is_main else f"{title}.safetensors",
        classes=description["classes"],
    )
