"""The face of the package: a short list of names, loaded when they are used."""

import ast
import inspect
import subprocess
import sys

import pytest

import wsss
from tests.conftest import REPOSITORY


@pytest.mark.parametrize("name", [name for name in wsss.__all__ if name != "__version__"])
def test_each_name_is_there_and_says_what_it_is(name):
    found = getattr(wsss, name)
    assert name in dir(wsss)
    if name != "IMAGENET":
        assert inspect.getdoc(found).splitlines()[0].endswith((".", ":"))


def test_what_type_checkers_see_is_what_is_loaded():
    tree = ast.parse((REPOSITORY / "wsss/__init__.py").read_text())
    (checked,) = (node for node in tree.body if isinstance(node, ast.If))
    imported = {alias.name: node.module for node in checked.body for alias in node.names}
    assert imported == wsss._MODULE_OF
    assert sorted({*imported, "__version__"}) == sorted(wsss.__all__)


def test_an_unknown_name():
    with pytest.raises(AttributeError, match="module 'wsss' has no attribute 'atribute'"):
        wsss.atribute  # noqa: B018


@pytest.mark.slow
def test_names_load_what_they_need_and_no_more():
    code = (
        "import sys, wsss; wsss.Normalisation; assert 'torch' not in sys.modules; "
        "wsss.CRFConfig; assert 'torch' not in sys.modules; "
        "wsss.attribute; assert 'pytorch_lightning' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_paths_may_be_text(shapes, tmp_path):
    """A script writes "runs/cls/last.ckpt", and no pathlib.Path."""
    root, classes = str(shapes.root), dict(shapes.classes)
    data = wsss.DataConfig(root=root, classes=classes, lists=str(shapes.lists))
    first = wsss.load_records(data, "train", with_labels=True)[0]
    assert first.image == wsss.load_records(shapes, "train", with_labels=True)[0].image
    for load in (wsss.load_classifier, wsss.load_segmenter):
        with pytest.raises(FileNotFoundError, match=r"checkpoint not found: .*nothing\.ckpt"):
            load(str(tmp_path / "nothing.ckpt"))
