"""Imports run one way, and importing does nothing else."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "wsss"
STAGES = {
    "data",
    "models",
    "attribution",
    "refinement",
    "metrics",
    "visualisation",
    "export",
    "deployed",
}
GROUND = {"attention", "errors", "ignore", "normalisation", "views", "parallel"}
RUNS = GROUND | STAGES | {"runs"}
ALLOWED = {
    **{part: set() for part in ("attention", "errors", "ignore", "normalisation", "views")},
    "parallel": GROUND,
    **{stage: GROUND | {stage} for stage in STAGES},
    "runs": RUNS,
    "tasks": RUNS | {"tasks"},
    "pipeline": RUNS | {"tasks", "pipeline"},
    "cli": {"errors", "parallel", "pipeline"},
    "__init__": RUNS | {"tasks", "pipeline"},
}
FILES = sorted(PACKAGE.rglob("*.py"))


def imported_parts(path: Path, text: str) -> set[str]:
    """First-level parts of wsss that a file imports, anywhere in it; `wsss` itself is none."""
    here = ("wsss", *path.relative_to(PACKAGE).with_suffix("").parts)
    parts = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(here[: -node.level]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            names = [f"{module}.{alias.name}" for alias in node.names] if module else []
        else:
            continue
        for name in names:
            words = name.split(".")
            if words[0] == "wsss" and len(words) > 1 and words[1] in ALLOWED.keys() | STAGES:
                parts.add(words[1])
    return parts


def faults(path: Path, text: str) -> set[str]:
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return imported_parts(path, text) - ALLOWED[part]


def test_every_file_belongs_to_a_known_part():
    parts = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES}
    assert parts == set(ALLOWED)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    assert faults(path, path.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("data/x.py", "import wsss.models.weights", {"models"}),
        ("data/x.py", "from wsss.tasks import optim", {"tasks"}),
        ("data/x.py", "from ..models import weights", {"models"}),
        ("metrics/x.py", "def f():\n    from wsss import refinement", {"refinement"}),
        ("tasks/x.py", "from wsss.pipeline.run import run", {"pipeline"}),
        ("cli.py", "from wsss.data import read_mask", {"data"}),
        ("cli.py", "from wsss import __version__\nfrom wsss.pipeline.run import run", set()),
        ("data/x.py", "from .masks import read_mask\nfrom wsss.data import images", set()),
        ("pipeline/x.py", "from wsss.data import a\nfrom wsss.tasks import b", set()),
    ],
)
def test_the_test_finds_what_it_looks_for(file, text, expected):
    assert faults(PACKAGE / file, text) == expected


NO_NETWORK = """
import socket, sys
def refuse(*arguments, **keywords):
    raise AssertionError(f"the network was asked: {arguments}")
socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = socket.create_connection = socket.gethostbyname = refuse
"""


def fresh_process(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", NO_NETWORK + code],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "PYTHONPATH": str(REPOSITORY)},
    )


def silent(done: subprocess.CompletedProcess[str]) -> bool:
    assert done.stderr == ""
    assert done.stdout == ""
    return done.returncode == 0


def test_importing_wsss_is_silent_and_light():
    heavy = "{'torch', 'albumentations', 'numpy', 'cv2', 'PIL', 'pytorch_lightning'}"
    assert silent(fresh_process(f"import wsss; assert not {heavy} & set(sys.modules)"))


def test_decoders_are_imported_when_one_is_built():
    """timm comes with them: a second that every other command is spared."""
    heavy = ("segmentation_models_pytorch", "timm", "open_clip")
    for path in FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [getattr(node, "module", None) or "", *(a.name for a in node.names)]
                assert not [name for name in names if name.split(".")[0] in heavy], path


@pytest.mark.slow
def test_importing_transforms_asks_no_network_and_prints_nothing():
    code = "import wsss.data.transforms; assert 'albumentations' in sys.modules"
    assert silent(fresh_process(code))


def test_the_refusal_of_the_network_is_not_empty():
    done = fresh_process("import urllib.request as u; u.urlopen('http://localhost:9')")
    assert "the network was asked" in done.stderr


def test_the_crf_library_has_one_user():
    users = [
        str(path.relative_to(PACKAGE))
        for path in FILES
        if any(
            word in path.read_text(encoding="utf-8")
            for word in ("import pydensecrf", "from pydensecrf")
        )
    ]
    assert users == ["refinement/densecrf/library.py"]


def test_only_the_command_line_prints():
    for path in FILES:
        calls = [
            node.lineno
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "print"
        ]
        assert not calls or path.name == "cli.py", path
