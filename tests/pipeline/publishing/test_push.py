"""Upload to a hub on this machine, over HTTP, and back by ``checkpoint: hf://user/name``."""

import logging
import shutil

import pytest
import torch
import yaml
from huggingface_hub import constants

from tests.data.local_hub import TOKEN, hub
from tests.pipeline.publishing.finished_run import leave_run
from tests.tasks.networks_on_disk import write_checkpoint
from wsss.cli import main
from wsss.data import to_path
from wsss.data.hub import download
from wsss.data.storage import file_sha256
from wsss.pipeline.card import card
from wsss.pipeline.publishing.fields import CardFields
from wsss.pipeline.push import push
from wsss.tasks.checkpoint import kind_of, load_backbone_weights, load_classifier, load_segmenter
from wsss.tasks.checkpoint_files import save_safetensors

__all__ = ["hub"]

FILLED = CardFields("mit", "A. Author", "shapes", "CC0", "Shapes.")
NAMES = {"README.md", "run.yaml", "model.safetensors", "classifier.safetensors"}


@pytest.fixture(scope="module")
def carded(shapes, tmp_path_factory):
    run = leave_run(tmp_path_factory.mktemp("pushed") / "run", shapes)
    card(run, fields=FILLED)
    return run


@pytest.fixture
def run(carded, tmp_path):
    shutil.copytree(carded, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def logged_in(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return hub


class TestUpload:
    def test_the_card_s_files_and_no_others(self, carded, logged_in):
        told = push(carded, "hf://user/shapes-a")
        repository = logged_in.repositories["user/shapes-a"]
        assert repository.private
        [commit] = repository.commits
        files = repository.commits[commit]
        assert set(files) == NAMES
        for name in NAMES - {"README.md"}:
            assert files[name] == (carded / "card" / name).read_bytes()
        assert told.splitlines()[-1] == f"checkpoint: hf://user/shapes-a@{commit}"

    def test_the_card_names_its_repository(self, carded, logged_in):
        push(carded / "card", "hf://user/shapes-b")
        [files] = logged_in.repositories["user/shapes-b"].commits.values()
        text = files["README.md"].decode()
        assert "wsss predict --checkpoint hf://user/shapes-b --images" in text
        assert "USER/NAME" not in text
        assert "hf://USER/NAME" in (carded / "card/README.md").read_text()

    def test_again_is_a_commit_more(self, run, logged_in):
        push(run, "hf://user/shapes-c")
        (run / "card/README.md").write_text((run / "card/README.md").read_text() + "\nMore.")
        push(run, "hf://user/shapes-c")
        first, second = logged_in.repositories["user/shapes-c"].commits.values()
        assert second["README.md"].endswith(b"More.")
        assert first["model.safetensors"] == second["model.safetensors"]

    def test_a_public_one_must_be_asked_for_and_filled_in(self, run, logged_in):
        push(run, "hf://user/shapes-d", private=False)
        assert not logged_in.repositories["user/shapes-d"].private
        (run / "card/README.md").unlink()
        card(run)
        with pytest.raises(ValueError, match=r"left to fill in: who made this .*becomes public"):
            push(run, "hf://user/shapes-e", private=False)
        assert "user/shapes-e" not in logged_in.repositories

    def test_a_private_one_may_wait(self, run, logged_in, caplog):
        (run / "card/README.md").unlink()
        card(run)
        with caplog.at_level(logging.WARNING):
            push(run, "hf://user/shapes-f")
        assert "left to fill in: who made this network" in caplog.text

    def test_a_dry_run_asks_nobody(self, carded, hub, capsys):
        assert main(["push", str(carded), "--to", "hf://user/shapes", "--dry_run", "true"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "would upload to user/shapes, a private repository if it is new:"
        assert {line.split()[0] for line in lines[1:]} == NAMES
        assert hub.asked == []


class TestRefusals:
    def test_nobody_is_logged_in(self, carded, hub):
        with pytest.raises(PermissionError, match=r"hub refuses it \(401\); log in by `hf auth"):
            push(carded, "hf://user/shapes")

    def test_no_token_is_shown_or_kept(self, carded, hub, monkeypatch, caplog, capsys, tmp_path):
        monkeypatch.setenv("HF_TOKEN", "hf_another_secret")
        with caplog.at_level(logging.DEBUG, logger="wsss"):
            assert main(["push", str(carded), "--to", "hf://user/shapes"]) == 1
        shown = capsys.readouterr()
        assert "secret" not in shown.out + shown.err + caplog.text
        for path in carded.rglob("*"):
            assert not path.is_file() or b"secret" not in path.read_bytes()

    @pytest.mark.parametrize(
        ("name", "value"), [("HF_HUB_OFFLINE", True), ("ENDPOINT", "http://127.0.0.1:9")]
    )
    def test_nobody_answers(self, carded, hub, monkeypatch, name, value):
        monkeypatch.setattr(constants, name, value)
        with pytest.raises(OSError, match="to: hf://user/shapes: the hub is not reached"):
            push(carded, "hf://user/shapes")

    @pytest.mark.parametrize(
        "to",
        ["user/shapes", "hf://shapes", "hf://user/shapes@v1", "hf://user/shapes/x", "http://x/y/z"],
    )
    def test_other_forms(self, carded, hub, to):
        with pytest.raises(ValueError, match="to: expected hf://user/name"):
            push(carded, to)

    def test_front_matter_that_the_hub_refuses(self, run, logged_in):
        card(run, fields=CardFields("nonsense"))
        with pytest.raises(ValueError, match=r"to: hf://user/shapes-g: .*license.* must be one of"):
            push(run, "hf://user/shapes-g")
        assert "user/shapes-g" not in logged_in.repositories

    def test_without_a_card(self, carded, hub, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"no card in .*`wsss card` writes one"):
            push(carded / "classifier", "hf://user/shapes")

    def test_a_network_that_has_changed(self, run, hub):
        with (run / "card/model.safetensors").open("ab") as file:
            file.write(b"x")
        with pytest.raises(ValueError, match=r"model\.safetensors has changed; run `wsss card`"):
            push(run, "hf://user/shapes")
        (run / "card/model.safetensors").unlink()
        with pytest.raises(FileNotFoundError, match=r"model\.safetensors is gone"):
            push(run, "hf://user/shapes")


class TestThereAndBack:
    @pytest.fixture
    def pushed(self, carded, logged_in):
        push(carded, "hf://user/back")
        return carded

    def test_networks_are_the_same(self, pushed):
        expected = load_segmenter(pushed / "segmenter/last.ckpt")[0].state_dict()
        found = load_segmenter("hf://user/back")[0].state_dict()
        assert all(torch.equal(value, found[key]) for key, value in expected.items())
        classifier = to_path("hf://user/back/classifier.safetensors")
        assert kind_of(classifier) == "classifier"
        expected = load_classifier(pushed / "classifier/last.ckpt")[0].backbone.state_dict()
        segmenter = load_segmenter("hf://user/back")[0]
        load_backbone_weights(segmenter, classifier)
        found = segmenter.backbone.state_dict()
        assert all(torch.equal(value, found[key]) for key, value in expected.items())

    @pytest.mark.slow
    def test_a_command_takes_it_and_says_so(self, pushed, shapes, tmp_path, capsys):
        """The same masks as of the checkpoint, and a configuration that repeats them."""
        words = ["predict", "--images", str(shapes.root / shapes.images), "--device", "cpu",
                 "--workers", "1", "--inference.scales", "[0.5]"]  # fmt: skip
        places = {"hf://user/back": "a", str(pushed / "segmenter/last.ckpt"): "b"}
        for checkpoint, name in places.items():
            assert main([*words, "--checkpoint", checkpoint, "--output", str(tmp_path / name)]) == 0
        masks = sorted((tmp_path / "a/masks").iterdir())
        assert len(masks) == 18
        for mask in masks:
            assert mask.read_bytes() == (tmp_path / "b/masks" / mask.name).read_bytes()
        config = yaml.safe_load((tmp_path / "a/config.yaml").read_text())
        assert config["checkpoint"] == "hf://user/back"
        assert main(["predict", "--config", str(tmp_path / "a/config.yaml")]) == 0

    @pytest.mark.slow
    def test_a_rerun_notices_another_content_under_the_same_name(
        self, pushed, logged_in, shapes, tmp_path, capsys
    ):
        """Main may move: what a rerun compares is the content."""
        assert file_sha256(to_path("hf://user/back")) == file_sha256(
            pushed / "card/model.safetensors"
        )
        words = ["predict", "--images", str(shapes.root / shapes.images), "--device", "cpu",
                 "--checkpoint", "hf://user/back", "--output", str(tmp_path / "o"),
                 "--inference.scales", "[0.5]"]  # fmt: skip
        assert main(words) == 0
        write_checkpoint(tmp_path / "other.ckpt", "segmenter", seed=9)
        save_safetensors(tmp_path / "other.ckpt", tmp_path / "other.safetensors")
        content = (tmp_path / "other.safetensors").read_bytes()
        logged_in.repositories["user/back"].add({"model.safetensors": content})
        download.cache_clear()  # as in the next process
        assert main(words) == 1
        assert "checkpoint_sha256" in capsys.readouterr().err

    def test_what_is_not_there_is_said_by_the_command(self, hub, tmp_path, capsys):
        words = ["predict", "--images", str(tmp_path), "--output", str(tmp_path / "o")]
        (tmp_path / "x.png").write_bytes(b"")
        assert main([*words, "--checkpoint", "hf://user/nothing"]) == 1
        assert "no repository user/nothing, or a private one" in capsys.readouterr().err
