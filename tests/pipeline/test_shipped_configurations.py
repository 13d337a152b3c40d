"""Every YAML file that is shipped parses against its command and says what it is."""

from pathlib import Path

import pytest
import yaml

from tests.conftest import REPOSITORY
from wsss.pipeline.commands import COMMANDS
from wsss.pipeline.settings import command_parser, parse_settings

CONFIGS = sorted((REPOSITORY / "configs").rglob("*.yaml"))


class TestShippedConfigurations:
    def test_there_are_some(self):
        assert {path.name for path in CONFIGS} >= {"data.yaml", "run.yaml"}

    @pytest.mark.parametrize("path", CONFIGS, ids=lambda p: f"{p.parent.name}/{p.name}")
    def test_each_parses_against_its_function(self, path, monkeypatch):
        monkeypatch.chdir(REPOSITORY)
        name = path.stem.split("-")[0]
        if name == "data":
            parse_settings(
                "eval_miou",
                {"data": yaml.safe_load(path.read_text()), "split": "val", "output": "o"},
            )
        elif name == "run":
            parser = command_parser("run", COMMANDS["run"])
            parsed = parser.parse_args(["--config", str(path)])
            settings = parser.instantiate(parsed)
            from wsss.pipeline.run import _parse

            for number, step in enumerate(settings["steps"], start=1):
                _parse(number, step, Path(settings["output"]), settings["data"])
        else:
            assert name in COMMANDS, f"{path}: the file's stem is no command"
            command_parser(name, COMMANDS[name]).parse_args(["--config", str(path)])

    @pytest.mark.parametrize("path", CONFIGS, ids=lambda p: f"{p.parent.name}/{p.name}")
    def test_each_begins_with_a_comment_that_says_what_it_is(self, path):
        assert path.read_text(encoding="utf-8").startswith("# ")

    def test_an_unknown_key_in_a_file_is_refused(self, tmp_path):
        (tmp_path / "eval_miou.yaml").write_text("split: val\nspilt: val\n")
        with pytest.raises(Exception, match="spilt"):
            command_parser("eval_miou", COMMANDS["eval_miou"]).parse_args(
                ["--config", str(tmp_path / "eval_miou.yaml")]
            )
