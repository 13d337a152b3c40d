"""Steps of a run, as YAML has them."""

from collections.abc import Iterator, Mapping
from typing import Any


class Steps:
    """Steps of a run: of each its name, its command and the command's parameters.

    A type of its own, since the parser reads the texts of a plain dict once more, and a split that
    is called "2023" or "no" would become a number or False.

    Args:
        steps: A list of mappings.

    Raises:
        ValueError: It is something else.
    """

    def __init__(self, steps: object) -> None:
        if not isinstance(steps, list | tuple):
            raise ValueError(f"steps: expected a list of steps, got {type(steps).__name__}")
        for number, step in enumerate(steps, start=1):
            if not isinstance(step, Mapping):
                raise ValueError(
                    f"steps, number {number}: expected keys such as command: train_cls, got "
                    f"{step!r}"
                )
        self._steps: list[dict[str, Any]] = [dict(step) for step in steps]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._steps)

    def plain(self) -> list[dict[str, Any]]:
        """The steps as YAML has them."""
        return self._steps
