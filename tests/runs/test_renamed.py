"""Old names of keys: accepted from every side, with one warning."""

import dataclasses
import json
import logging
from pathlib import Path

import pytest
import yaml

from wsss.cli import command
from wsss.pipeline.commands import COMMANDS, Command
from wsss.pipeline.run import run
from wsss.pipeline.settings import command_parser, parse_settings
from wsss.runs.folder import OutputFolder
from wsss.runs.renamed import RENAMED, text_in_new_names, with_new_names, words_in_new_names
from wsss.runs.settings import Settings

TOLD = "toy: sorts is now called kinds; the old name works in this version, not in the next"


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind.

    Args:
        size: Its size.
    """

    size: int = 1


def toy(output: Path, kinds: dict[str, Kind], texts: list[str] | None = None) -> Path:
    """A command whose key was once called otherwise.

    Args:
        output: Its folder.
        kinds: Kinds by name.
        texts: Texts.
    """
    settings = Settings.of(toy, locals())
    OutputFolder(output, settings).finish()
    return output


@pytest.fixture(autouse=True)
def renamed(monkeypatch, caplog):
    """One line in each of both tables."""
    monkeypatch.setitem(COMMANDS, "toy", Command(toy, "A command whose key was once ..."))
    monkeypatch.setitem(RENAMED, "toy", {"sorts": "kinds"})
    caplog.set_level(logging.WARNING)


def told(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("wsss")]


def config_of(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())["config"]


class TestFromYAMLValues:
    def test_the_old_name_is_the_new_one(self, caplog):
        found = parse_settings("toy", {"sorts": {"a": {"size": 2}}, "output": "o"})
        assert found["kinds"] == {"a": Kind(2)}
        assert told(caplog) == [TOLD]

    def test_the_new_name_is_no_news(self, caplog):
        parse_settings("toy", {"kinds": {}, "output": "o"})
        assert told(caplog) == []

    def test_both_are_refused(self):
        with pytest.raises(ValueError, match=r"toy: sorts is the old name of kinds: .* got both"):
            parse_settings("toy", {"sorts": {}, "kinds": {}, "output": "o"})

    def test_other_commands_do_not_know_it(self):
        settings = {"data": {"root": "d"}, "split": "val", "output": "o"}
        parse_settings("eval_miou", settings)
        with pytest.raises(ValueError, match="sorts"):
            parse_settings("eval_miou", {**settings, "sorts": 1})

    def test_neither_is_missed_by_its_new_name(self):
        with pytest.raises(ValueError, match="kinds"):
            parse_settings("toy", {"output": "o"})


class TestFromTheCommandLine:
    @pytest.mark.parametrize(
        "words",
        [
            ["--sorts", '{"a": {"size": 2}}'],
            ['--sorts={"a": {"size": 2}}'],
            ["--sorts.a", '{"size": 2}'],
        ],
    )
    def test_words(self, words, tmp_path, caplog):
        assert command("toy", [*words, "--output", str(tmp_path / "o")]) == 0
        assert config_of(tmp_path / "o")["kinds"] == {"a": {"size": 2}}
        assert told(caplog) == [TOLD]

    def test_values_are_left_alone(self):
        words = ["--kinds", "sorts", "--texts=--sorts", "sorts", "--sortsx", "-sorts"]
        assert words_in_new_names("toy", words) == words

    def test_both_are_wrong_usage(self, tmp_path, capsys):
        words = ["--sorts", "{}", "--kinds", "{}", "--output", str(tmp_path / "o")]
        with pytest.raises(SystemExit) as stopped:
            command("toy", words)
        assert stopped.value.code == 2
        assert "error: sorts is the old name of kinds" in capsys.readouterr().err

    def test_help_knows_the_new_name_alone(self):
        text = command_parser("toy", COMMANDS["toy"]).format_help()
        assert "--kinds" in text
        assert "sorts" not in text


class TestFromAFile:
    def write(self, tmp_path, text: str) -> list[str]:
        (tmp_path / "toy.yaml").write_text(text)
        return ["--config", str(tmp_path / "toy.yaml"), "--output", str(tmp_path / "o")]

    @pytest.mark.parametrize("key", ["sorts", '"sorts"', "'sorts'", "? sorts\n"])
    def test_config(self, key, tmp_path, caplog):
        text = f"# sorts: of old\ntexts: [sorts]\n{key}: {{a: {{size: 2}}}}\n"
        assert command("toy", self.write(tmp_path, text)) == 0
        assert config_of(tmp_path / "o")["kinds"] == {"a": {"size": 2}}
        assert config_of(tmp_path / "o")["texts"] == ["sorts"]
        assert told(caplog) == [TOLD]

    def test_a_word_of_today_replaces_what_an_old_file_says(self, tmp_path):
        words = self.write(tmp_path, "sorts: {a: {size: 2}}\n")
        assert command("toy", [*words, "--kinds", '{"a": {"size": 3}}']) == 0
        assert config_of(tmp_path / "o")["kinds"] == {"a": {"size": 3}}

    def test_both_in_one_file_are_wrong_usage(self, tmp_path, capsys):
        words = self.write(tmp_path, "sorts: {}\nkinds: {}\n")
        with pytest.raises(SystemExit) as stopped:
            command("toy", words)
        assert stopped.value.code == 2
        assert "sorts is the old name of kinds" in capsys.readouterr().err

    def test_all_but_the_key_keeps_its_spelling(self):
        text = 'sorts:  # sorts\n  sorts: "1e-3"\n  b: 0x10\ntexts: ["sorts: x", 1e3]\n'
        assert text_in_new_names("toy", text) == "kinds" + text[5:]

    @pytest.mark.parametrize("text", ["{", "- sorts", "sorts", "", "1: sorts", "{kinds: sorts}"])
    def test_what_is_no_old_file_is_left_to_the_parser(self, text):
        assert text_in_new_names("toy", text) == text


class TestFoldersOfBefore:
    def make(self, folder: Path) -> None:
        """A folder as an older version has written it."""
        old = Settings("toy", {"output": folder, "sorts": {"a": Kind(2)}, "texts": None}, {})
        OutputFolder(folder, old)
        assert "sorts" in config_of(folder)

    def test_it_has_the_same_configuration(self, tmp_path, caplog):
        self.make(tmp_path / "o")
        toy(tmp_path / "o", {"a": Kind(2)})
        assert list(config_of(tmp_path / "o")) == ["output", "kinds", "texts"]
        assert told(caplog) == [], "who runs it has written nothing old"

    def test_its_config_yaml_repeats_it(self, tmp_path, caplog):
        self.make(tmp_path / "o")
        assert command("toy", ["--config", str(tmp_path / "o/config.yaml")]) == 0
        assert config_of(tmp_path / "o")["kinds"] == {"a": {"size": 2}}
        assert told(caplog) == [TOLD]
        saved = yaml.safe_load((tmp_path / "o/config.yaml").read_text())
        assert "sorts" not in saved

    def test_another_configuration_is_refused_in_new_words(self, tmp_path):
        self.make(tmp_path / "o")
        with pytest.raises(ValueError, match=r"\(there -> now\): kinds\.a\.size: 2 -> 3"):
            toy(tmp_path / "o", {"a": Kind(3)})


class TestStepsOfARun:
    def test_an_old_file_and_its_done_steps(self, shapes, tmp_path, caplog, monkeypatch):
        ran = []

        def noted(output: Path, kinds: dict[str, Kind], texts: list[str] | None = None) -> None:
            ran.append(kinds)

        noted.__name__ = "toy"
        monkeypatch.setitem(COMMANDS, "toy", dataclasses.replace(COMMANDS["toy"], source=noted))
        step = {"name": "one", "command": "toy", "sorts": {"a": {"size": 2}}}
        run(shapes, [step], tmp_path)
        assert ran == [{"a": Kind(2)}]
        assert told(caplog) == [TOLD]
        stamp = tmp_path / "one/step.json"
        stamp.write_text(stamp.read_text().replace('"kinds"', '"sorts"'))
        step["kinds"] = step.pop("sorts")
        run(shapes, [step], tmp_path)
        assert len(ran) == 1, "done by the older version"

    def test_both_are_refused_before_anything_runs(self, shapes, tmp_path):
        step = {"name": "one", "command": "toy", "sorts": {}, "kinds": {}}
        with pytest.raises(ValueError, match="steps, one: toy: sorts is the old name of kinds"):
            run(shapes, [step], tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_the_order_of_keys_is_kept():
    """Of classes and of methods it is a part of what is said."""
    assert list(with_new_names("toy", {"a": 1, "sorts": 2, "b": 3})) == ["a", "kinds", "b"]


@pytest.mark.parametrize("name", [name for name in RENAMED if name != "toy"])
def test_every_line_of_the_table_names_parameters_that_exist(name):
    found = {action.dest for action in command_parser(name, COMMANDS[name])._actions}
    for old, new in RENAMED[name].items():
        assert new in found
        assert old not in found
