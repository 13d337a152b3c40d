"""Chained commands: what is skipped, what runs again, and what is checked before the first step."""

import dataclasses
import functools
import json
import logging
import re
import shutil

import pytest
import yaml

from tests.pipeline.two_steps import masks, steps
from wsss.cli import command
from wsss.data import read_mask, write_mask
from wsss.pipeline.commands import COMMANDS
from wsss.pipeline.run import _clock, run
from wsss.pipeline.settings import command_parser

__all__ = ["masks", "steps"]


@pytest.fixture
def ran(monkeypatch) -> list[str]:
    """Names of the folders whose commands have run."""
    found = []
    entry = COMMANDS["eval_miou"]
    real = entry.function

    @functools.wraps(real)
    def noted(**settings):
        found.append(settings["output"].name)
        return real(**settings)

    monkeypatch.setitem(COMMANDS, "eval_miou", dataclasses.replace(entry, source=noted))
    return found


class TestRun:
    def test_what_is_done_is_skipped(self, steps, shapes, tmp_path, ran, caplog):
        run(steps=steps, output=tmp_path / "run", data=shapes)
        assert ran == ["one", "two"]
        assert json.loads((tmp_path / "run/two/eval.json").read_text())["miou"] == 1.0
        with caplog.at_level(logging.INFO):
            run(steps=steps, output=tmp_path / "run", data=shapes)
        assert ran == ["one", "two"]
        assert "step 2 of 2, two: eval_miou is done" in caplog.text

    def test_each_step_says_how_long_it_took(self, steps, shapes, tmp_path, caplog):
        with caplog.at_level(logging.INFO):
            run(steps=steps, output=tmp_path / "run", data=shapes)
        assert re.search(r"step 1 of 2, one: eval_miou \.\.\. \d+\.\d s\n", caplog.text)

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (0.04, "0.0 s"),
            (9.94, "9.9 s"),
            (9.96, "10 s"),
            (59.6, "1 min 00 s"),
            (185.2, "3 min 05 s"),
            (3599.8, "1 h 00 min"),
            (7620, "2 h 07 min"),
        ],
    )
    def test_times_are_said_as_a_person_says_them(self, seconds, text):
        assert _clock(seconds) == text

    def test_steps_after_one_that_ran_again_run_again(self, steps, shapes, tmp_path, ran):
        run(steps=steps, output=tmp_path / "run", data=shapes)
        shutil.rmtree(tmp_path / "run" / "one")
        run(steps=steps, output=tmp_path / "run", data=shapes)
        assert ran == ["one", "two", "one", "two"]

    def test_a_changed_last_step_runs_alone(self, steps, shapes, tmp_path, ran):
        run(steps=steps, output=tmp_path / "run", data=shapes)
        shutil.rmtree(tmp_path / "run" / "two")
        run(steps=steps, output=tmp_path / "run", data=shapes)
        assert ran == ["one", "two", "two"]

    def test_a_changed_step_is_not_mixed_with_its_old_results(self, steps, shapes, tmp_path):
        run(steps=steps, output=tmp_path / "run", data=shapes)
        steps[0]["limit"] = 3
        with pytest.raises(ValueError, match=r"another configuration; .*limit: None -> 3"):
            run(steps=steps, output=tmp_path / "run", data=shapes)

    def test_a_step_that_failed_runs_again(self, steps, shapes, tmp_path, masks, ran):
        kept = read_mask(masks / "train_0001.png")
        (masks / "train_0001.png").unlink()
        with pytest.raises(ValueError, match="1 of 12 predictions are missing"):
            run(steps=steps, output=tmp_path / "run", data=shapes)
        write_mask(masks / "train_0001.png", kept)
        run(steps=steps, output=tmp_path / "run", data=shapes)
        assert ran == ["one", "two", "two"]

    def test_output_is_filled_in_at_any_depth(self, steps, shapes, tmp_path, masks):
        masks.rename(tmp_path / "run-masks")
        steps[0]["predictions"] = "{output}-masks"
        run(steps=steps[:1], output=tmp_path / "run", data=shapes)
        facts = json.loads((tmp_path / "run/one/manifest.json").read_text())
        assert facts["config"]["predictions"] == f"{tmp_path}/run-masks"

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                {"command": "eval"},
                r"steps, number 2: expected a command among check_labels, .* eval$",
            ),
            ({"command": None}, "steps, number 2: expected a command among"),
            ({"spilt": "val"}, "steps, two: eval_miou: .*spilt"),
            ({"limit": "many"}, "steps, two: eval_miou: .*limit"),
            ({"name": "one"}, "two steps are named one"),
            ({"name": "a/b"}, "expected a folder name, got 'a/b'"),
            ({"name": ".."}, r"expected a folder name, got '\.\.'"),
            ({"output": "x"}, "steps, two: the folder is .*run/two; leave output out"),
            ({"data": {"root": "x", "classes": {"a": 999}}}, r"data\.classes\.a.*1\.\.254"),
        ],
    )
    def test_every_step_is_checked_before_the_first_runs(
        self, steps, shapes, tmp_path, change, message
    ):
        steps[1] |= change
        with pytest.raises(ValueError, match=message):
            run(steps=steps, output=tmp_path / "run", data=shapes)
        assert not (tmp_path / "run").exists()


def test_several_processes_are_sent_to_the_single_commands(monkeypatch, shapes, tmp_path):
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "0")
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "2")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    with pytest.raises(ValueError, match="expected one process"):
        run(shapes, [], tmp_path)


@pytest.mark.parametrize("command_name", ["init", "check_data"])
def test_commands_without_results_are_no_steps(shapes, tmp_path, command_name):
    message = "steps, number 1: expected a command among check_labels, train_cls"
    with pytest.raises(ValueError, match=message):
        run(shapes, [{"command": command_name}], tmp_path)


@pytest.mark.parametrize("text", ["2023", "no", "1e3", "null", "on", "0x10"])
def test_texts_in_quotes_stay_texts(tmp_path, text):
    """A split may be called so."""
    path = tmp_path / "run.yaml"
    step = {"name": text, "command": "check_data", "train_split": text, "nested": {"a": [text]}}
    content = {"output": "x", "data": {"root": ".", "classes": {text: 1}}, "steps": [step]}
    path.write_text(json.dumps(content))
    parser = command_parser("run", COMMANDS["run"])
    parsed = parser.instantiate(parser.parse_args([f"--config={path}"]))
    assert list(parsed.steps) == [step]
    assert parsed.data.classes == {text: 1}


@pytest.mark.parametrize(
    ("steps", "words"),
    [("x", "expected a list of steps, got str"), ({"a": 1}, "expected a list of steps, got dict"),
     (["train_cls"], "number 1: expected keys such as command: train_cls, got 'train_cls'")],
)  # fmt: skip
def test_what_are_no_steps(tmp_path, capsys, steps, words):
    content = {"output": "x", "data": {"root": ".", "classes": {"a": 1}}, "steps": steps}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(SystemExit):
        command("run", [f"--config={tmp_path / 'run.yaml'}"])
    assert words in " ".join(capsys.readouterr().err.split())
