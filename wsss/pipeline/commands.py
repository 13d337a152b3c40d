"""Which commands there are, and how their parameters are read from YAML and command lines."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser
from jsonargparse.typing import register_type

from wsss.data.storage import is_remote, is_store_error, to_path
from wsss.pipeline.benchmark_attribution import benchmark_attribution
from wsss.pipeline.check_data import check_data
from wsss.pipeline.check_labels import check_labels
from wsss.pipeline.choose_threshold import choose_threshold
from wsss.pipeline.eval_miou import eval_miou
from wsss.pipeline.explain import explain
from wsss.pipeline.export import export
from wsss.pipeline.init import init
from wsss.pipeline.make_pseudo_masks import make_pseudo_masks
from wsss.pipeline.predict import predict
from wsss.pipeline.report import report
from wsss.pipeline.train_cls import train_cls
from wsss.pipeline.train_seg import train_seg

__all__ = ["COMMANDS", "arguments", "command_parser", "is_store_error", "parse_settings"]

COMMANDS: dict[str, Callable[..., Any]] = {
    "init": init,
    "check_data": check_data,
    "check_labels": check_labels,
    "train_cls": train_cls,
    "make_pseudo_masks": make_pseudo_masks,
    "choose_threshold": choose_threshold,
    "eval_miou": eval_miou,
    "train_seg": train_seg,
    "predict": predict,
    "export": export,
    "explain": explain,
    "benchmark_attribution": benchmark_attribution,
    "report": report,
}


register_type(  # what a signature calls a Path may be a URL
    Path,
    serializer=str,
    deserializer=to_path,
    deserializer_exceptions=(ValueError, TypeError),
    type_check=lambda value, _: isinstance(value, Path) or is_remote(value),
    fail_already_registered=False,
)


def command_parser(function: Callable[..., Any], prog: str | None = None) -> ArgumentParser:
    """Parser whose keys are the parameters of a command's function.

    Values come from the function's defaults, then ``--config FILE.yaml``, then the command line;
    unknown and ill-typed keys are refused by name.
    """
    summary = (function.__doc__ or "").strip().split("\n\n")[0]
    parser = ArgumentParser(
        prog=prog, description=summary, exit_on_error=prog is not None, print_config=None
    )
    parser.add_argument("--config", action="config", help="YAML file with these keys.")
    by_hand: set[str | int] = set()
    if function is explain:  # wsss explain IMAGE --labels dog person
        parser.add_argument("image", type=Path, help="The photograph.")
        parser.add_argument("--labels", type=str, nargs="+", help="Names of classes to explain.")
        by_hand = {"image", "labels"}
    if function is init:  # wsss init DIR
        parser.add_argument("folder", type=Path, help="The folder with the data set.")
        by_hand = {"folder"}
    if function is report:  # wsss report RUN RUN
        parser.add_argument("runs", type=Path, nargs="+", help="Folders of runs.")
        by_hand = {"runs"}
    parser.add_function_arguments(
        function, as_group=False, fail_untyped=True, sub_configs=True, skip=by_hand
    )
    return parser


def parse_settings(command: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Typed parameters of a command from plain YAML values.

    Raises:
        ValueError: Unknown or ill-typed keys; the message names them.
    """
    function = COMMANDS[command]
    parser = command_parser(function)
    try:
        parsed = parser.parse_object(settings)
        return arguments(parser, parsed)
    except Exception as error:
        raise ValueError(f"{command}: {error}") from error


def arguments(parser: ArgumentParser, parsed: Any) -> dict[str, Any]:
    """Keyword arguments of the function, dataclasses built."""
    built = parser.instantiate(parsed)
    return {key: built[key] for key in vars(built) if key != "config"}
