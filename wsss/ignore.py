"""Mask value that is no label."""

IGNORE = 255
"""Mask value of pixels that are neither trained on nor scored."""
