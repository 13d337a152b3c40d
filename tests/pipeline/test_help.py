"""What `--help` says of every command, parameter and field."""

import contextlib
import dataclasses
import inspect
import io

import pytest

from wsss.cli import main
from wsss.pipeline.commands import COMMANDS
from wsss.pipeline.settings import command_parser


def documented(name: str) -> dict[str, str]:
    """Help of each key of a command, nested ones included."""
    parser = command_parser(name, COMMANDS[name])
    return {action.dest: action.help for action in parser._actions}


class TestHelp:
    @pytest.mark.parametrize("name", COMMANDS)
    def test_the_overview_says_what_the_function_says(self, name):
        function = COMMANDS[name].function
        assert inspect.getdoc(function).splitlines()[0] == COMMANDS[name].summary

    @pytest.mark.parametrize("name", COMMANDS)
    def test_every_parameter_is_explained(self, name):
        function = COMMANDS[name].function
        found = documented(name)
        for parameter in inspect.signature(function).parameters:
            keys = [k for k in found if k == parameter or k.startswith(f"{parameter}.")]
            assert keys, parameter
        empty = [key for key, text in found.items() if not (text or "").strip()]
        assert empty == []

    @pytest.mark.parametrize("name", COMMANDS)
    def test_every_field_of_a_nested_configuration_is_explained(self, name):
        function = COMMANDS[name].function
        for parameter in inspect.signature(function).parameters.values():
            kinds = getattr(parameter.annotation, "__args__", (parameter.annotation,))
            for kind in kinds:
                if dataclasses.is_dataclass(kind):
                    for field in dataclasses.fields(kind):
                        assert f"        {field.name}: " in inspect.getdoc(kind).replace(
                            "\n    ", "\n        "
                        ), (kind, field.name)

    @pytest.mark.parametrize("name", COMMANDS)
    def test_help_prints_and_exits_with_0(self, name):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as stopped:
            main([name, "--help"])
        assert stopped.value.code == 0
        text = printed.getvalue()
        assert text.startswith(f"usage: wsss {name}")
        places = {word.name for word in COMMANDS[name].words if not word.flag.startswith("--")}
        assert all(word in text for word in COMMANDS[name].summary.split())
        for parameter in inspect.signature(COMMANDS[name].function).parameters:
            word = f"\n  {parameter} " if parameter in places else f"--{parameter}"
            assert word in text, word
