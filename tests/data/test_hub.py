"""Files of a hub: which URL means which file, what is downloaded, and what is said of errors."""

import pickle

import pytest
from huggingface_hub import constants

from tests.data.local_hub import TOKEN, hub
from wsss.data.hub import HubFile, download, is_model_url, parse_url
from wsss.data.storage import fetched, is_remote, readable, to_path

__all__ = ["hub"]


class TestURLs:
    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("hf://user/name", ("user/name", None, "model.safetensors")),
            ("hf://user/name/", ("user/name", None, "model.safetensors")),
            ("hf://a-b/c.d_e/x/y.ckpt", ("a-b/c.d_e", None, "x/y.ckpt")),
            ("hf://user/name@v1.0", ("user/name", "v1.0", "model.safetensors")),
            ("hf://user/name@refs%2Fpr%2F1/x", ("user/name", "refs/pr/1", "x")),
            ("hf://user/name@0123abc/a b/c", ("user/name", "0123abc", "a b/c")),
        ],
    )
    def test_what_they_mean(self, url, expected):
        assert parse_url(url, "checkpoint") == HubFile(*expected)
        # as it comes through a command's configuration, and to another process
        path = to_path(url)
        assert is_remote(path)
        assert parse_url(str(pickle.loads(pickle.dumps(path))), "checkpoint") == HubFile(*expected)
        assert parse_url(str(to_path(str(path))), "checkpoint") == HubFile(*expected)

    @pytest.mark.parametrize(
        "url", ["hf://name", "hf://", "hf://user/na me", "hf://user/name@", "hf://@user/name",
                "hf://user/name@a@b", "hf://üser/name"]
    )  # fmt: skip
    def test_other_forms(self, url):
        with pytest.raises(ValueError, match=r"checkpoint: expected hf://user/name, .* got hf://"):
            parse_url(url, "checkpoint")

    def test_data_sets_are_not_models(self):
        assert not is_model_url("hf://datasets/user/name/x.png")
        assert not is_model_url("s3://hf/x")
        assert is_model_url("hf://user/name")


class TestDownload:
    def test_a_file_comes_once(self, hub):
        hub.repository("user/one").add({"model.safetensors": b"weights", "a/b.txt": b"text"})
        path = to_path("hf://user/one")
        assert readable(path, "checkpoint").read_bytes() == b"weights"
        asked = len(hub.asked)
        assert fetched(path, "checkpoint").read_bytes() == b"weights"
        assert len(hub.asked) == asked
        assert fetched(path / "a/b.txt", "checkpoint").read_bytes() == b"text"
        # another process finds the content in the cache, and asks only whether it is still that
        download.cache_clear()
        assert fetched(path, "checkpoint").read_bytes() == b"weights"
        assert hub.asked.count("GET /user/one/resolve/main/model.safetensors") <= 1

    def test_a_revision_stays_and_main_moves(self, hub):
        repository = hub.repository("user/two")
        first = repository.add({"model.safetensors": b"one"})
        repository.add({"model.safetensors": b"two"})
        assert fetched(to_path("hf://user/two"), "checkpoint").read_bytes() == b"two"
        assert fetched(to_path(f"hf://user/two@{first}"), "checkpoint").read_bytes() == b"one"
        repository.add({"model.safetensors": b"three"})
        # one process goes on with what it began with
        assert fetched(to_path("hf://user/two"), "checkpoint").read_bytes() == b"two"
        download.cache_clear()
        assert fetched(to_path("hf://user/two"), "checkpoint").read_bytes() == b"three"

    def test_a_private_repository(self, hub, monkeypatch):
        hub.repository("user/private", private=True).add({"model.safetensors": b"secret"})
        path = to_path("hf://user/private")
        with pytest.raises(FileNotFoundError, match=r"or a private one; .*HF_TOKEN"):
            fetched(path, "checkpoint")
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        assert fetched(path, "checkpoint").read_bytes() == b"secret"

    @pytest.mark.parametrize(
        ("url", "message"),
        [
            ("hf://user/none", r"checkpoint not found: hf://user/none/model\.safetensors: no repo"),
            ("hf://user/some@v9", r"some@v9/model\.safetensors: user/some has no such revision"),
            ("hf://user/some/x.bin", r"has no such file; name another one, hf://user/some/FILE"),
            ("hf://user/gated", r"conditions to be accepted, on the page of user/gated"),
        ],
    )
    def test_what_is_not_there(self, hub, url, message):
        hub.repository("user/some").add({"model.safetensors": b"x"})
        hub.repository("user/gated", gated=True).add({"model.safetensors": b"x"})
        with pytest.raises(FileNotFoundError, match=message):
            readable(to_path(url), "checkpoint")

    def test_names_that_the_hub_refuses(self, hub):
        with pytest.raises(ValueError, match=r"checkpoint: hf://user/a--b/.*Cannot have --"):
            fetched(to_path("hf://user/a--b"), "checkpoint")

    def test_without_a_network_the_cache_serves(self, hub, monkeypatch):
        hub.repository("user/three").add({"model.safetensors": b"kept"})
        fetched(to_path("hf://user/three"), "checkpoint")
        download.cache_clear()
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert fetched(to_path("hf://user/three"), "checkpoint").read_bytes() == b"kept"
        with pytest.raises(OSError, match="the hub is not reached, and its cache"):
            fetched(to_path("hf://user/three/other"), "checkpoint")
