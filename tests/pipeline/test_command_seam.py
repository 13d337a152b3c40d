"""A new command is a file with one function, and one line of a table."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from wsss.cli import command, main
from wsss.data import DataConfig
from wsss.errors import CommandError
from wsss.pipeline.commands import COMMANDS, Command, Word
from wsss.pipeline.run import run
from wsss.runs.folder import OutputFolder
from wsss.runs.settings import Settings


class TooFewError(CommandError):
    """An exit code of the toy's own."""

    exit_code = 7


def count_images(
    folders: list[Path], output: Path, data: DataConfig | None = None, at_least: int = 1
) -> Path:
    """Count the files of some folders.

    Args:
        folders: The folders.
        output: Folder for the counts and the configuration.
        data: Not looked at.
        at_least: Fewer are an error.

    Returns:
        The counts.
    """
    out = OutputFolder(output, Settings.of(count_images, locals()))
    counts = {folder.name: len(list(folder.iterdir())) for folder in folders}
    if sum(counts.values()) < at_least:
        raise TooFewError(f"expected at least {at_least} files, got {sum(counts.values())}")
    (output / "counts.json").write_text(json.dumps(counts))
    out.finish(counts=counts)
    return output / "counts.json"


def shown(result: Path, settings: dict) -> str:
    return f"counted {len(settings['folders'])} folders"


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    line = Command(
        f"{__name__}:count_images", "Count the files of some folders.",
        words=(Word("folders", "The folders.", many=True),), manifest=True,
        show=f"{__name__}:shown",
    )  # fmt: skip
    monkeypatch.setitem(COMMANDS, "count_images", line)


@pytest.fixture
def folders(tmp_path) -> list[Path]:
    for name, count in (("a", 2), ("b", 3)):
        (tmp_path / name).mkdir()
        for number in range(count):
            (tmp_path / name / str(number)).touch()
    return [tmp_path / "a", tmp_path / "b"]


def test_by_the_command_line(folders, tmp_path, capsys):
    words = [*map(str, folders), "--output", str(tmp_path / "o"), "--at-least", "5"]
    assert command("count_images", words) == 0
    assert capsys.readouterr().out == "counted 2 folders\n"
    assert json.loads((tmp_path / "o/counts.json").read_text()) == {"a": 2, "b": 3}
    assert main(["--help"]) == 0
    assert "count_images            Count the files of some folders." in capsys.readouterr().out


def test_an_exit_code_of_its_own(folders, tmp_path, capsys):
    words = [*map(str, folders), "--output", str(tmp_path / "o"), "--at_least", "6"]
    assert command("count_images", words) == 7
    assert "error: expected at least 6 files, got 5" in capsys.readouterr().err


def test_as_a_step_of_a_run(folders, shapes, tmp_path):
    step = {"name": "c", "command": "count_images", "folders": list(map(str, folders))}
    run(shapes, [step], tmp_path / "run")
    facts = json.loads((tmp_path / "run/c/manifest.json").read_text())
    assert facts["counts"] == {"a": 2, "b": 3}
    assert facts["config"]["data"]["root"] == str(shapes.root)
    (folders[0] / "new").touch()
    run(shapes, [step], tmp_path / "run")  # done: it does not run again
    assert json.loads((tmp_path / "run/c/counts.json").read_text()) == {"a": 2, "b": 3}


def test_the_overview_imports_no_command():
    code = (
        "import sys; from wsss.cli import main; main(['--help']); main(['--version']); "
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "make_pseudo_masks       Make a pseudo-mask for every image of a list." in done.stdout


class TestANewParameter:
    """A folder of before a parameter existed goes on, as long as nobody sets it."""

    def test_of_a_command(self, folders, tmp_path):
        output = tmp_path / "o"
        count_images(folders, output)
        manifest = json.loads((output / "manifest.json").read_text())
        del manifest["config"]["at_least"]
        (output / "manifest.json").write_text(json.dumps(manifest))
        count_images(folders, output)
        manifest["config"].pop("at_least", None)
        (output / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(ValueError, match=r"Differences .*at_least: \(not set\) -> 2"):
            count_images(folders, output, at_least=2)

    def test_of_a_step(self, folders, shapes, tmp_path):
        step = {"name": "c", "command": "count_images", "folders": list(map(str, folders))}
        run(shapes, [step], tmp_path / "run")
        stamp = tmp_path / "run/c/step.json"
        done = json.loads(stamp.read_text())
        del done["settings"]["at_least"]
        stamp.write_text(json.dumps(done))
        (tmp_path / "run/c/counts.json").unlink()
        run(shapes, [step], tmp_path / "run")
        assert not (tmp_path / "run/c/counts.json").exists(), "the step is done"
        with pytest.raises(ValueError, match=r"another configuration.*at_least: 1 -> 5"):
            run(shapes, [{**step, "at_least": 5}], tmp_path / "run")
