"""Reading of a JSON file key by key, with errors that name the file and the key."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

Item = TypeVar("Item")

Score = float | None
"""A number of a file; None, its null, where there was nothing to measure."""


class Section:
    """Mapping inside a JSON file.

    Every method that takes a key raises ValueError where the key is missing, or its value is of
    another kind.

    Args:
        values: The mapping.
        file: Name of the file, for messages.
        key: Where in the file the mapping stands, for messages; empty for the whole file.

    Raises:
        ValueError: The values are no mapping.
    """

    def __init__(self, values: Any, file: Path | str, key: str = "") -> None:
        self._file, self._key = file, key
        if not isinstance(values, Mapping):
            at = f"{file}: {key}" if key else f"{file}"
            raise ValueError(f"{at}: expected a mapping, got {_short(values)}")
        self._values = values

    @classmethod
    def of_file(cls, path: Path) -> "Section":
        """Read the whole of a file, which must exist."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: not a JSON file: {error}") from error
        return cls(values, path)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def text(self, key: str) -> str:
        """Read a text."""
        value = self._value(key)
        return value if isinstance(value, str) else self.refuse(key, "a text", value)

    def choice(self, key: str, choices: tuple[Item, ...]) -> Item:
        """Read one of a few values."""
        value = self._value(key)
        if value not in choices:
            self.refuse(key, f"one of {', '.join(map(str, choices))}", value)
        # the member of `choices` itself, which has the type that was asked for
        return choices[choices.index(value)]

    def whole(self, key: str) -> int:
        """Read a whole number."""
        value = self._value(key)
        # the exact type: isinstance would take true and false for 1 and 0
        return value if type(value) is int else self.refuse(key, "a whole number", value)

    def number(self, key: str) -> float:
        """Read a number."""
        value = self._value(key)
        return float(value) if _is_number(value) else self.refuse(key, "a number", value)

    def score(self, key: str) -> Score:
        """Read a number or null."""
        return None if self._value(key) is None else self.number(key)

    def interval(self, key: str) -> tuple[Score, Score]:
        """Read two numbers or nulls."""
        ends = self._value(key)
        fits = isinstance(ends, list) and all(end is None or _is_number(end) for end in ends)
        if not fits or len(ends) != 2:
            self.refuse(key, "two numbers", ends)
        low, high = (None if end is None else float(end) for end in ends)
        return low, high

    def texts(self, key: str) -> tuple[str, ...]:
        """Read a list of texts."""
        values = self._list(key)
        if not all(isinstance(value, str) for value in values):
            self.refuse(key, "a list of texts", values)
        return tuple(values)

    def rows(self, key: str) -> tuple[tuple[int, ...], ...]:
        """Read rows of whole numbers."""
        rows = self._list(key)
        if not all(isinstance(row, list) and all(type(n) is int for n in row) for row in rows):
            self.refuse(key, "rows of whole numbers", rows)
        return tuple(tuple(row) for row in rows)

    def mapping(self, key: str) -> dict[str, Any]:
        """Read a mapping, as it stands."""
        return dict(self.section(key)._values)

    def section(self, key: str) -> "Section":
        """Open a mapping, to read on by its keys."""
        return Section(self._value(key), self._file, self._below(key))

    def sections(self, key: str) -> list["Section"]:
        """Open each mapping of a list."""
        return [
            Section(value, self._file, f"{self._below(key)}[{index}]")
            for index, value in enumerate(self._list(key))
        ]

    def nullable(self, key: str, read: Callable[["Section"], Item]) -> Item | None:
        """Read a mapping by a function; None where there is null in its place."""
        return None if self._value(key) is None else read(self.section(key))

    def parsed(self, key: str, parse: Callable[[Any], Item]) -> Item:
        """Parse a value by a function, whose ValueError is raised with file and key."""
        value = self._value(key)
        try:
            return parse(value)
        except ValueError as error:
            raise ValueError(f"{self._file}: {self._below(key)}: {error}") from error

    def refuse(self, key: str, expected: str, value: Any) -> NoReturn:
        """Raise ValueError: something else was expected under a key."""
        at = f"{self._file}: {self._below(key)}"
        raise ValueError(f"{at}: expected {expected}, got {_short(value)}")

    def _value(self, key: str) -> Any:
        if key not in self._values:
            raise ValueError(f"{self._file}: {self._below(key)}: missing")
        return self._values[key]

    def _list(self, key: str) -> list[Any]:
        value = self._value(key)
        return value if isinstance(value, list) else self.refuse(key, "a list", value)

    def _below(self, key: str) -> str:
        return f"{self._key}.{key}" if self._key else key


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)  # a bool is an int to isinstance


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
