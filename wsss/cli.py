"""Command line: ``wsss <command>``, and the scripts under ``tools/``."""

import logging
import os
import sys
from collections.abc import Sequence

from wsss import __version__
from wsss.errors import CommandError

_HEAVY = ("torch", "torchvision", "lightning_fabric", "pytorch_lightning", "albumentations")
"""Packages that an installation for ONNX files alone goes without."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``wsss``: the first word chooses the command."""
    from wsss.pipeline.commands import COMMANDS

    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["--version"]:
        print(f"wsss {__version__}")
        return 0
    if not words or words[0] in ("-h", "--help"):
        print(_overview())
        return 0 if words else 2
    if words[0] not in COMMANDS:
        print(f"wsss: no command {words[0]!r}\n\n{_overview()}", file=sys.stderr)
        return 2
    return command(words[0], words[1:])


def command(name: str, argv: Sequence[str] | None = None) -> int:
    """Run one command with its own arguments; None takes the process's.

    Returns:
        The exit code: 0 done, 1 error, 2 wrong usage, 3 mIoU below fail_under, 4 errors in a data
        set, 130 interrupted.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # its notes on retries would stand between a command's own lines
    logging.getLogger("aiobotocore").setLevel(logging.WARNING)
    from wsss.parallel.environment import first_of_all
    from wsss.pipeline.commands import COMMANDS
    from wsss.pipeline.settings import arguments, command_parser, is_store_error

    entry = COMMANDS[name]
    try:
        parser = command_parser(name, entry, for_shell=True)
    except ModuleNotFoundError as error:
        if error.name not in _HEAVY:
            raise
        print(f"wsss {name}: error: this command needs torch: pip install wsss", file=sys.stderr)
        return 1
    words = sys.argv[1:] if argv is None else list(argv)
    parsed = parser.parse_args([_with_underscores(word) for word in words])
    result, ended = None, None
    try:
        settings = arguments(parser, parsed)
        result = entry.function(**settings)
    except BrokenPipeError:
        return _unheard()
    except KeyboardInterrupt:
        print(f"wsss {name}: interrupted; give the command again to go on", file=sys.stderr)
        return 130
    except CommandError as error:
        ended = error
        if error.is_result:
            print(error)
        if not error.written:
            return _failed(name, error)
    except (ValueError, OSError, ImportError) as error:
        return _failed(name, error)
    # object stores raise their libraries' own kinds; any other is a fault of ours, shown in full
    except Exception as error:
        if not is_store_error(error):
            raise
        print(f"wsss {name}: error: the object store: {error!r}", file=sys.stderr)
        return 1
    # of several processes only one prints
    if first_of_all():
        shown = entry.shown(result, settings)
        if shown is not None:
            try:
                print(shown, flush=True)
            except BrokenPipeError:
                return _unheard()
        if ended is not None:
            print(f"wsss {name}: {ended}", file=sys.stderr)
    return 0 if ended is None else ended.exit_code


def _unheard() -> int:
    """End where nobody reads any more, as behind ``| head``; as a program that this signal ends."""
    # Python writes what is left when it ends, which would fail again
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + 13


def _failed(name: str, error: Exception) -> int:
    """Print an error, unless it is a result that was printed before; return the exit code."""
    if not isinstance(error, CommandError) or not error.is_result:
        print(f"wsss {name}: error: {error}", file=sys.stderr)
    return error.exit_code if isinstance(error, CommandError) else 1


def _with_underscores(word: str) -> str:
    """Rewrite --fail-under as --fail_under: a key's first part may be written with dashes.

    --no-save-scores stands for --save_scores=false.
    """
    if not word.startswith("--"):
        return word
    if word.startswith(("--no-", "--no_")) and "=" not in word:
        return f"--{word[5:].replace('-', '_')}=false"
    key, equals, value = word.partition("=")
    first, dot, rest = key[2:].partition(".")
    return "--" + first.replace("-", "_") + dot + rest + equals + value


def _overview() -> str:
    from wsss.pipeline.commands import COMMANDS

    lines = ["usage: wsss COMMAND [--config FILE.yaml] [--key value ...]", "", "commands:"]
    lines += [f"  {name:<24}{entry.summary}" for name, entry in COMMANDS.items()]
    lines += ["", "wsss COMMAND --help explains each key."]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
