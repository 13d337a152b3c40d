"""The drawn data set and its masks, which are read only."""

from tests.export.conftest import drawn_set

__all__ = ["drawn_set"]
