"""Errors that end a command with an exit code of their own."""

from collections.abc import Mapping


class CommandError(RuntimeError):
    """Error of a command that cannot go on, or has found what its user asked to be told of.

    Attributes:
        exit_code: What the program then returns.
        is_result: The message is what the command was asked for; without it, it is an error.
        written: The command came to its end, and its results are shown before the message.
    """

    exit_code = 1
    is_result = False
    written = False


class IncompleteError(CommandError):
    """Error of a command that finished but for some images, which the message names."""

    @classmethod
    def of(cls, failed: Mapping[str, str], total: int, shown: int = 5) -> "IncompleteError":
        """Build the error from failed images, and say what happened to the first ones.

        Args:
            failed: What went wrong, by image id.
            total: Number of images.
            shown: How many are named.
        """
        examples = [f"{image_id}: {error}" for image_id, error in failed.items()][:shown]
        return cls(f"{len(failed)} of {total} images failed: " + "; ".join(examples))


class BelowError(CommandError):
    """Error of an mIoU below what was asked for; the results are written."""

    exit_code = 3
    written = True


class FaultsError(CommandError, ValueError):
    """Error of a data set with faults; the message is the table of them."""

    exit_code = 4
    is_result = True
