"""Errors that end a command in a way of its own."""


class IncompleteError(RuntimeError):
    """A command did what it could, but some images failed; the message names them."""
