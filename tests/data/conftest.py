"""A data set that a test may change."""

from tests.pipeline.conftest import own_shapes

__all__ = ["own_shapes"]
