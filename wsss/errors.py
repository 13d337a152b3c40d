"""Errors that end a command in a way of its own."""


class IncompleteError(RuntimeError):
    """A command did what it could, but some images failed; the message names them."""


class BelowError(RuntimeError):
    """The mIoU is below what was asked for; the results are written."""
