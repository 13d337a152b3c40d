"""Names that people give to splits, in folders, lists, columns and file names."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

# VOC's extended list before its own: it is what papers train on
_TRAIN = (
    "train_aug", "trainaug", "train", "training", "trainval", "train_val", "train-val",
)  # fmt: skip
_VAL = ("val", "valid", "validation", "validate", "dev", "eval", "test", "testing")
_NAMES = sorted((*_TRAIN, *_VAL), key=len, reverse=True)
# a word of its own, so that "tested" and "trained" are none; longest first, so that train_aug is
# not found to be train
_BEHIND = re.compile(r"[ _-]+(list|set|split|ids?|images?|imgs?|data|files?)$", re.IGNORECASE)
_TOKEN = re.compile(rf"(?<![a-z])(?:{'|'.join(_NAMES)})\d*(?![a-z])", re.IGNORECASE)


def is_split(name: str) -> bool:
    """Whether a name is one that people give to a split: Train, val2017, testing, seg_train."""
    return _bare(name) in (*_TRAIN, *_VAL)


def train_and_val(splits: Iterable[str]) -> tuple[str | None, str | None]:
    """Find the split that trains and the one that validates, by their names."""
    bare = {split: _bare(split) for split in splits}
    train = next((s for name in _TRAIN for s in bare if bare[s] == name), None)
    val = next((s for name in _VAL for s in bare if bare[s] == name), None)
    return train, val


def _bare(name: str) -> str:
    """A split's name in small letters, without its year and the words around it."""
    name = _BEHIND.sub("", name.strip())
    found = _TOKEN.findall(name)
    end = bool(found) and name.endswith(found[-1])
    return (found[-1] if end else name).lower().rstrip("0123456789")


class Files(NamedTuple):
    """Files of one kind, one for each split.

    Args:
        template: Their relative name, with ``{split}`` where the split's stands; or that of the
            single file.
        by_split: The file of each split; empty for a single file.
        others: Files that do not belong to them.
    """

    template: str
    by_split: dict[str, str]
    others: list[str]

    @property
    def used(self) -> list[str]:
        """The files that belong together."""
        return list(self.by_split.values()) or [self.template]


def choose_files(names: Sequence[str]) -> Files:
    """Choose the files of one data set among several.

    Args:
        names: Relative names, such as annotations/instances_train2017.json or train/labels.csv; at
            least one. Of two kinds with equally many splits, the first is taken.
    """
    kinds: dict[str, dict[str, str]] = {}
    for name in names:
        split = split_in(name)
        if split is not None:
            kinds.setdefault(templated(name, split), {})[split] = name
    best = max(kinds, key=lambda kind: len(kinds[kind]), default=None)
    if best is not None and len(kinds[best]) > 1:
        by_split = dict(sorted(kinds[best].items()))
        used = set(by_split.values())
        return Files(best, by_split, [name for name in names if name not in used])
    # a file that trains comes before one of another split, and of no split before either
    single = {split_in(name): name for name in reversed(names)}
    train, _ = train_and_val(split for split in single if split is not None)
    one = single.get(None) or single.get(train) or names[0]
    return Files(one, {}, [name for name in names if name != one])


def split_in(name: str) -> str | None:
    """Find the split that a relative file name speaks of: in the name itself, else its folders."""
    for part in reversed(name.split("/")):
        found = _TOKEN.findall(part)
        if found:
            return str(found[-1])
    return None


def templated(name: str, split: str) -> str:
    """Write ``{split}`` wherever the split stands in a name as a word of its own."""
    return _TOKEN.sub(lambda found: "{split}" if found[0] == split else found[0], name)
