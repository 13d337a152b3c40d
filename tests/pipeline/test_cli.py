"""The command line: its words, its exit codes, and what it prints where."""

import functools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.conftest import REPOSITORY, SHAPES
from tests.pipeline.two_steps import data, masks, replace_command, steps
from wsss import __version__
from wsss.cli import _with_underscores, command, main
from wsss.data import read_mask, write_mask
from wsss.errors import IncompleteError
from wsss.pipeline.commands import COMMANDS

__all__ = ["data", "masks", "steps"]


def recorded(function, given: dict):
    """A command with its own parameters that only keeps what it is given."""

    @functools.wraps(function)
    def keep(**settings):
        given.update(settings)

    return keep


class TestCommandLine:
    def test_a_run_from_yaml(self, steps, data, tmp_path, capsys):
        """`data: data.yaml` beside the run's file, as in configs/."""
        (tmp_path / "data.yaml").write_text(yaml.safe_dump(data))
        config = {"output": str(tmp_path / "run"), "data": "data.yaml", "steps": steps}
        (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
        assert main(["run", "--config", str(tmp_path / "run.yaml")]) == 0
        for name in ("one", "two"):
            assert json.loads((tmp_path / f"run/{name}/eval.json").read_text())["miou"] == 1.0

    def test_success_prints_the_table_and_returns_0(self, data, masks, tmp_path, capsys):
        words = ["eval_miou", "--data.root", data["root"], "--data.classes", json.dumps(SHAPES),
                 "--split", "val", "--output", str(tmp_path / "o"), "--predictions", str(masks),
                 "--limit", "2"]  # fmt: skip
        assert main(words) == 0
        table = capsys.readouterr().out
        assert "background" in table
        assert "mIoU              100.00" in table
        assert "scored 2 of 6 images" in table

    def test_its_config_yaml_repeats_it(self, data, masks, tmp_path, capsys):
        (tmp_path / "data.yaml").write_text(yaml.safe_dump(data))
        words = ["eval_miou", "--data", str(tmp_path / "data.yaml"), "--split", "val",
                 "--output", str(tmp_path / "o"), "--predictions", str(masks)]  # fmt: skip
        assert main(words) == 0
        first = (tmp_path / "o/eval.json").read_bytes()
        saved = str(tmp_path / "o/config.yaml")
        again = str(tmp_path / "p/o")  # the row in eval.md is named after the folder
        assert main(["eval_miou", "--config", saved, "--output", again]) == 0
        assert (tmp_path / "p/o/eval.json").read_bytes() == first

    @pytest.mark.parametrize("floor", [["--fail-under", "0.9"], ["--fail_under=0.9"]])
    def test_below_the_floor_returns_3_with_the_table_all_the_same(
        self, data, masks, tmp_path, capsys, floor
    ):
        words = ["eval_miou", "--data.root", data["root"], "--data.classes", json.dumps(SHAPES),
                 "--split", "val", "--predictions", str(masks)]  # fmt: skip
        assert main([*words, *floor, "--output", str(tmp_path / "good")]) == 0
        for path in masks.glob("val_*.png"):
            write_mask(path, np.zeros_like(read_mask(path)))
        good = capsys.readouterr()
        assert "mIoU              100.00" in good.out
        assert "fail_under" not in good.err
        assert main([*words, *floor, "--output", str(tmp_path / "bad")]) == 3
        bad = capsys.readouterr()
        facts = json.loads((tmp_path / "bad/eval.json").read_text())
        assert f"mIoU              {100 * facts['miou']:6.2f}" in bad.out
        assert "scored 6 of 6 images" in bad.out
        below = f"wsss eval_miou: mIoU {facts['miou']:.4f} is below fail_under 0.9\n"
        assert bad.err.endswith(below)

    def test_a_run_stops_at_the_floor_every_time(self, steps, data, masks, tmp_path, capsys):
        """The step that fell below is not done: it is not skipped when the run is repeated."""
        for path in masks.glob("val_*.png"):
            write_mask(path, np.zeros_like(read_mask(path)))
        steps[0]["fail_under"] = 0.9
        config = {"output": str(tmp_path / "run"), "data": data, "steps": steps}
        (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
        for _ in range(2):
            assert main(["run", "--config", str(tmp_path / "run.yaml")]) == 3
            assert "is below fail_under 0.9" in capsys.readouterr().err
        assert (tmp_path / "run/one/eval.json").is_file()
        assert not (tmp_path / "run/two").exists()

    @pytest.mark.parametrize(
        ("word", "read"),
        [
            ("--fail-under", "--fail_under"),
            ("--fail-under=0.5", "--fail_under=0.5"),
            ("--name=ours-2", "--name=ours-2"),
            ("--crf.gaussian-sxy", "--crf.gaussian-sxy"),
            ("--data.classes.traffic-light=3", "--data.classes.traffic-light=3"),
            ("--other-part.traffic-light", "--other_part.traffic-light"),
            ("a-b", "a-b"),
            ("-1", "-1"),
            ("-h", "-h"),
            ("--", "--"),
        ],
    )
    def test_dashes_in_the_first_part_of_a_key_alone_are_underscores(self, word, read):
        assert _with_underscores(word) == read

    def test_values_keep_their_dashes(self, data, masks, tmp_path, monkeypatch):
        given = {}
        replace_command(monkeypatch, "eval_miou", recorded(COMMANDS["eval_miou"].function, given))
        monkeypatch.setattr("wsss.pipeline.evaluation.tables.format_table", lambda path: "")
        (tmp_path / "data.yaml").write_text(yaml.safe_dump(data))
        words = ["--data", str(tmp_path / "data.yaml"), "--output", str(tmp_path / "a-b"),
                 "--split", "val-1", "--scores", "c-d", "--name=e-f", "--allow-missing", "true",
                 "--threshold", "g-h"]  # fmt: skip
        assert main(["eval_miou", *words]) == 0
        assert given["output"] == tmp_path / "a-b"
        assert (given["split"], given["name"]) == ("val-1", "e-f")
        assert (given["scores"], given["threshold"]) == (Path("c-d"), Path("g-h"))
        assert given["allow_missing"] is True

    @pytest.mark.parametrize(
        ("text", "value"),
        [("0.3", 0.3), ("1", 1.0), ("runs/a", Path("runs/a")), ("t.json", Path("t.json"))],
    )
    def test_a_threshold_is_a_number_or_a_path(self, data, tmp_path, monkeypatch, text, value):
        given = {}
        replace_command(monkeypatch, "eval_miou", recorded(COMMANDS["eval_miou"].function, given))
        monkeypatch.setattr("wsss.pipeline.evaluation.tables.format_table", lambda path: "")
        (tmp_path / "data.yaml").write_text(yaml.safe_dump(data))
        words = ["--data", str(tmp_path / "data.yaml"), "--output", "o", "--split", "val"]
        assert main(["eval_miou", *words, "--threshold", text]) == 0
        assert given["threshold"] == value
        assert type(given["threshold"]) in (int, float, type(Path()))

    def test_an_optional_data_set_is_read_from_its_file_too(self, data, tmp_path, monkeypatch):
        given = {}
        replace_command(monkeypatch, "predict", recorded(COMMANDS["predict"].function, given))
        (tmp_path / "data.yaml").write_text(yaml.safe_dump(data))
        (tmp_path / "predict.yaml").write_text("data: data.yaml\nsplit: train\n")
        words = ["--checkpoint", "a.ckpt", "--output", str(tmp_path / "o")]
        for source in (["--data", str(tmp_path / "data.yaml")],
                       ["--config", str(tmp_path / "predict.yaml")]):  # fmt: skip
            given.clear()
            assert main(["predict", *source, *words]) == 0
            assert given["data"].root == Path(data["root"])

    def test_a_mistake_in_the_values_returns_1_with_its_message(self, data, tmp_path, capsys):
        words = ["eval_miou", "--data.root", data["root"], "--data.classes", json.dumps(SHAPES),
                 "--split", "val", "--output", str(tmp_path / "o")]  # fmt: skip
        assert main(words) == 1
        captured = capsys.readouterr()
        assert captured.err == (
            "wsss eval_miou: error: give either predictions (masks) or scores\n"
        )
        assert captured.out == ""

    def test_an_unknown_command_returns_2_and_lists_the_others(self, capsys):
        assert main(["train"]) == 2
        error = capsys.readouterr().err
        assert "no command 'train'" in error
        assert all(f"\n  {name} " in error for name in COMMANDS)

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["eval_miou", "--spilt", "val"], "spilt"),
            (["eval_miou", "--limit", "many"], "limit"),
            (["predict", "--inference.flip", "perhaps"], "inference.flip"),
            (["make_pseudo_masks", "--method", "tiff"], "method"),
            (["train_cls", "--model.name", "resnet19"], "name"),
            (["train_cls", "--config", "/none.yaml"], "none.yaml"),
        ],
    )
    def test_unknown_and_ill_typed_keys_are_named(self, words, message, capsys):
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert stopped.value.code == 2
        assert message in capsys.readouterr().err

    def test_checks_of_dataclasses_name_the_key(self, tmp_path, capsys):
        words = ["--data.root", "x", "--output", str(tmp_path / "o"), "--optim.lr", "-1"]
        assert main(["train_cls", *words]) == 1
        assert "optim.lr: expected above 0, or auto; got -1" in capsys.readouterr().err
        assert not (tmp_path / "o").exists()

    @pytest.mark.parametrize("error", [ValueError, FileNotFoundError, IncompleteError, ImportError])
    def test_expected_errors_return_1(self, error, monkeypatch, capsys, tmp_path):
        def fails(output: Path = Path("o")) -> None:
            raise error("the reason")

        replace_command(monkeypatch, "predict", fails)
        assert command("predict", []) == 1
        assert capsys.readouterr().err == "wsss predict: error: the reason\n"

    def test_other_errors_keep_their_traceback(self, monkeypatch):
        def fails() -> None:
            raise ZeroDivisionError

        replace_command(monkeypatch, "predict", fails)
        with pytest.raises(ZeroDivisionError):
            command("predict", [])

    def test_an_interruption_returns_130_and_says_how_to_go_on(self, monkeypatch, capsys):
        def interrupted() -> None:
            raise KeyboardInterrupt

        replace_command(monkeypatch, "predict", interrupted)
        assert command("predict", []) == 130
        assert "give the command again to go on" in capsys.readouterr().err

    def test_overview_and_version(self, capsys):
        assert main(["--version"]) == 0
        assert capsys.readouterr().out == f"wsss {__version__}\n"
        assert main(["--help"]) == 0
        assert "eval_miou" in capsys.readouterr().out
        assert main([]) == 2

    @pytest.mark.parametrize("name", COMMANDS)
    def test_the_scripts_under_tools_are_the_commands(self, name):
        text = (REPOSITORY / "tools" / f"{name}.py").read_text()
        assert f'command("{name}")' in text
        assert len(text.splitlines()) < 15

    @pytest.mark.slow
    def test_a_script_runs_as_a_process(self, tmp_path):
        script = REPOSITORY / "tools" / "eval_miou.py"
        done = subprocess.run(
            [sys.executable, script, "--data.root", tmp_path, "--split", "val",
             "--output", tmp_path / "o"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert done.stderr == "wsss eval_miou: error: give either predictions (masks) or scores\n"
        assert done.stdout == ""
