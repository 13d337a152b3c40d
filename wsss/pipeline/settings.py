"""Parsing of the parameters of a command from YAML and command lines."""

import inspect
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

import yaml
from jsonargparse import ArgumentParser
from jsonargparse.typing import register_type

from wsss.data.config import Root
from wsss.data.storage import is_remote, is_store_error, to_path
from wsss.pipeline.commands import COMMANDS, Command
from wsss.refinement.steps import STEPS, RefinementChain, check_kinds
from wsss.runs.renamed import settings_in_new_names, text_in_new_names, words_in_new_names
from wsss.runs.steps import Steps

__all__ = ["arguments", "built", "command_parser", "is_store_error", "parse_settings"]

Built = TypeVar("Built")
log = logging.getLogger(__name__)
_CALLED_IN: ContextVar[Path | None] = ContextVar("called_in", default=None)
"""Working folder in which the command line was read."""


def built(config: type[Built], values: Mapping[str, Any], key: str) -> Built:
    """Build a dataclass from plain values, as YAML has them.

    Args:
        config: The dataclass.
        values: Values of its fields; those left out take their defaults.
        key: Name of the values, for the error.

    Raises:
        ValueError: Unknown or ill-typed keys; the message names them.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(config, "config")
    try:
        made: Built = parser.instantiate(parser.parse_object({"config": dict(values)}))["config"]
    except Exception as error:  # jsonargparse raises several kinds
        raise ValueError(f"{key}: {error}") from error
    return made


def _chain(given: Any) -> RefinementChain:
    """Build refinement steps from their plain form, also as the text of a command line."""
    plain = _loaded(given, "refine")
    if not isinstance(plain, Sequence) or isinstance(plain, str):
        raise ValueError(f"refine: expected a list of steps such as {{kind: crf}}, got {plain!r}")
    check_kinds(plain)
    return RefinementChain(
        tuple(
            built(
                STEPS[step["kind"]].config,
                {key: value for key, value in step.items() if key != "kind"},
                f"refine, step {number}, {step['kind']}",
            )
            for number, step in enumerate(plain, start=1)
        )
    )


register_type(  # what a signature calls a Path may be a URL
    Path,
    serializer=str,
    deserializer=to_path,
    deserializer_exceptions=(ValueError, TypeError),
    type_check=lambda value, _: isinstance(value, Path) or is_remote(value),
    fail_already_registered=False,
)


def _steps(given: Any) -> Steps:
    """Build the steps of a run, also from the text of a command line."""
    return Steps(_loaded(given, "steps"))


def _loaded(given: Any, key: str) -> Any:
    """Read a text of YAML; anything else stays.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(given, str):
        return given
    try:
        return yaml.safe_load(given)
    except yaml.YAMLError as error:
        raise ValueError(f"{key}: not YAML: {error}") from error


def _root(text: str) -> Path:
    """Build the data set's root, which a YAML file gives relative to itself.

    It was relative to the working folder before; where that alone is there, it still is.
    """
    path = to_path(text)
    here, called_in = Path.cwd(), _CALLED_IN.get()
    # the parser works in the folder of the file that it reads
    if called_in is None or here == called_in or is_remote(path) or path.is_absolute():
        return path
    near = Path(os.path.normpath(here / path))
    if not near.is_dir() and (called_in / path).is_dir():
        log.warning(
            "data.root: %s is relative to the working folder %s; it is meant relative to the YAML "
            "file in %s, where there is none: write it so",
            path,
            called_in,
            here,
        )
        return path
    # as short as a person would write it
    return near.relative_to(called_in) if near.is_relative_to(called_in) else near


register_type(
    Root,
    serializer=str,
    deserializer=_root,
    deserializer_exceptions=(ValueError, TypeError),
    type_check=lambda value, _: isinstance(value, Path) or is_remote(value),
    fail_already_registered=False,
)
register_type(
    Steps,
    serializer=Steps.plain,
    deserializer=_steps,
    fail_already_registered=False,
)
register_type(
    RefinementChain,
    serializer=RefinementChain.plain,
    deserializer=_chain,
    fail_already_registered=False,
)


class CommandParser(ArgumentParser):
    """Parser of one command, which takes the old names of renamed keys too.

    Attributes:
        command: Its name; jsonargparse itself makes parsers of parts, which have none.
    """

    command = ""

    def parse_args(self, args: Any = None, *more: Any, **keywords: Any) -> Any:
        """As of any parser."""
        words = sys.argv[1:] if args is None else args
        try:
            words = words_in_new_names(self.command, words)
        except ValueError as error:
            self.error(str(error), error)
        token = _CALLED_IN.set(Path.cwd())
        try:
            return super().parse_args(words, *more, **keywords)
        finally:
            _CALLED_IN.reset(token)

    def parse_string(self, content: str, *more: Any, **keywords: Any) -> Any:
        """As of any parser; what ``--config`` names is read by this too."""
        try:
            content = text_in_new_names(self.command, content)
        except ValueError as error:
            self.error(str(error), error)
        return super().parse_string(content, *more, **keywords)


def command_parser(name: str, command: Command, *, for_shell: bool = False) -> CommandParser:
    """Build the parser whose keys are the parameters of a command's function.

    Values come from the function's defaults, then ``--config FILE.yaml``, then the command line;
    unknown and ill-typed keys are refused by name.

    Args:
        name: Name of the command.
        command: Its line in the table.
        for_shell: Answer ``--help`` and mistakes as a program does, and take its positional
            arguments.
    """
    function = command.function
    _register_names_of_methods()
    parser = CommandParser(
        prog=f"wsss {name}" if for_shell else None,
        description=(inspect.getdoc(function) or "").split("\n\n")[0],
        exit_on_error=for_shell,
        print_config=None,
    )
    parser.command = name
    parser.add_argument("--config", action="config", help="YAML file with these keys.")
    # positional arguments, which jsonargparse would otherwise add as --keys once more
    by_hand: set[str | int] = set()
    if for_shell:
        for argument in command.words:
            parser.add_argument(
                argument.flag,
                type=argument.type,
                help=argument.help,
                nargs="+" if argument.many else None,
            )
            by_hand.add(argument.name)
    parser.add_function_arguments(
        function, as_group=False, fail_untyped=True, sub_configs=True, skip=by_hand
    )
    return parser


def _register_names_of_methods() -> None:
    """Let the parser know names of attribution methods, if the command takes one."""
    # such a command has loaded the table of methods, and torch with it, which others are spared
    methods = sys.modules.get("wsss.attribution.methods")
    if methods is not None:
        name = methods.MethodName
        register_type(name, serializer=str, deserializer=name, fail_already_registered=False)


def parse_settings(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Parse the typed parameters of a command from plain YAML values.

    Raises:
        ValueError: Unknown or ill-typed keys; the message names them.
    """
    parser = command_parser(name, COMMANDS[name])
    try:
        return arguments(parser, parser.parse_object(settings_in_new_names(name, settings)))
    except Exception as error:
        raise ValueError(f"{name}: {error}") from error


def arguments(parser: ArgumentParser, parsed: Any) -> dict[str, Any]:
    """Build the keyword arguments of the function, with its dataclasses."""
    ready = parser.instantiate(parsed)
    # the file's values are among the others; its path is no parameter
    return {key: ready[key] for key in vars(ready) if key != "config"}
