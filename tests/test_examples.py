"""The examples in docstrings run as they stand there."""

import ast
import doctest
import importlib
import inspect

import pytest

import wsss
from tests.conftest import REPOSITORY
from wsss.pipeline.commands import COMMANDS

NEEDS_A_TRAINING = {"load_classifier", "load_segmenter"}
"""Functions whose example would need a checkpoint; the tutorial has them."""

MODULES = [
    str(path.relative_to(REPOSITORY).with_suffix("")).replace("/", ".").removesuffix(".__init__")
    for path in sorted((REPOSITORY / "wsss").rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


def failures(module) -> list[str]:
    """Names of the docstrings of a module whose examples do not give what they say."""
    runner = doctest.DocTestRunner(verbose=False)
    return [
        example.name
        for example in doctest.DocTestFinder().find(module)
        if runner.run(example, out=lambda text: None).failed
    ]


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_say(name):
    assert failures(importlib.import_module(name)) == []


def test_a_wrong_example_is_found():
    module = type(ast)("wrong")
    module.__doc__ = ">>> 1 + 1\n3\n"
    assert failures(module) == ["wrong"]


@pytest.mark.parametrize("name", [name for name in wsss.__all__ if name != "__version__"])
def test_each_public_function_has_an_example(name):
    found = getattr(wsss, name)
    if not inspect.isfunction(found) or name in COMMANDS.keys() | NEEDS_A_TRAINING:
        return
    assert ">>> " in found.__doc__
