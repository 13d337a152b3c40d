"""The command line: ``wsss <command>``, and the scripts under ``tools/``."""

import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any

from wsss import __version__


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``wsss``: the first word chooses the command."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["--version"]:
        print(f"wsss {__version__}")
        return 0
    if not words or words[0] in ("-h", "--help"):
        print(_overview())
        return 0 if words else 2
    if words[0] not in _commands():
        print(f"wsss: no command {words[0]!r}\n\n{_overview()}", file=sys.stderr)
        return 2
    return command(words[0], words[1:])


def command(name: str, argv: Sequence[str] | None = None) -> int:
    """Run one command with its own arguments (those of the process if None).

    Returns:
        The exit code: 0 done, 1 error, 2 wrong usage, 3 mIoU below fail_under, 4 errors in a data
        set, 130 interrupted.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for talkative in ("pytorch_lightning", "aiobotocore"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    from wsss.errors import BelowError, IncompleteError
    from wsss.parallel.ranks import first_of_all
    from wsss.pipeline.check_data import FaultsError
    from wsss.pipeline.commands import arguments, command_parser, is_store_error
    from wsss.pipeline.evaluation.tables import format_table
    from wsss.pipeline.label_check.rows import first_rows

    function = _commands()[name]
    parser = command_parser(function, prog=f"wsss {name}")
    words = sys.argv[1:] if argv is None else list(argv)
    parsed = parser.parse_args([_with_underscores(word) for word in words])
    below = None
    try:
        settings = arguments(parser, parsed)
        result = function(**settings)
    except KeyboardInterrupt:
        print(f"wsss {name}: interrupted; give the command again to go on", file=sys.stderr)
        return 130
    except BelowError as error:
        result, below = None, error
    except FaultsError as error:
        print(error)
        return 4
    except (ValueError, OSError, ImportError, IncompleteError) as error:
        print(f"wsss {name}: error: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        if not is_store_error(error):
            raise
        print(f"wsss {name}: error: the object store: {error!r}", file=sys.stderr)
        return 1
    if not first_of_all():
        return 0 if below is None else 3
    if name == "eval_miou":
        print(format_table(settings["output"] / "eval.json"))
    if name == "check_labels":
        print(first_rows(result))
    if isinstance(result, str):
        print(result)
    elif result is not None and not isinstance(result, dict):
        print(f"wrote {result}")
    if below is not None:
        print(f"wsss {name}: {below}", file=sys.stderr)
        return 3
    return 0


def _with_underscores(word: str) -> str:
    """--fail-under as --fail_under: the first part of a key may be written with dashes.

    --no-save-scores stands for --save_scores=false.
    """
    if not word.startswith("--"):
        return word
    if word.startswith(("--no-", "--no_")) and "=" not in word:
        return f"--{word[5:].replace('-', '_')}=false"
    key, equals, value = word.partition("=")
    first, dot, rest = key[2:].partition(".")
    return "--" + first.replace("-", "_") + dot + rest + equals + value


def _commands() -> dict[str, Callable[..., Any]]:
    """All commands. Imported late, so that `wsss --version` answers at once."""
    from wsss.pipeline.commands import COMMANDS
    from wsss.pipeline.run import run

    return {**COMMANDS, "run": run}


def _overview() -> str:
    lines = ["usage: wsss COMMAND [--config FILE.yaml] [--key value ...]", "", "commands:"]
    for name, function in _commands().items():
        summary = (function.__doc__ or "").strip().splitlines()[0]
        lines.append(f"  {name:<24}{summary}")
    lines += ["", "wsss COMMAND --help explains each key."]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
