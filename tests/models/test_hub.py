"""A rehearsal of published weights: the hub's cache as a download leaves it, and no network."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from wsss.models.backbones import BackboneConfig, build_backbone

timm = pytest.importorskip("timm")
safetensors = pytest.importorskip("safetensors.torch")

NAME = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"

_LOAD = """
import json, socket, sys
def refuse(*given):
    raise OSError("the test has no network")
socket.socket.connect = refuse
import torch
from wsss.models.backbones import BackboneConfig, build_backbone
from wsss.pipeline.recipes.choice import weights_here
backbone = build_backbone(BackboneConfig(name=sys.argv[1], weights="DEFAULT"))
values = backbone.body.eval()(torch.ones(1, 3, 40, 56)).detach()
here = weights_here(sys.argv[1])
print(json.dumps([values.flatten().tolist(), backbone.normalisation.mean, here]))
"""


def keep_in_hub(cache: Path, repository: str, files: dict[str, bytes]) -> None:
    """Write files as huggingface_hub keeps a repository: blobs, and links by name."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / ("0" * 40)
    for made in (folder / "refs", folder / "blobs", snapshot):
        made.mkdir(parents=True)
    (folder / "refs/main").write_text("0" * 40)
    for number, (name, content) in enumerate(files.items()):
        blob = folder / "blobs" / f"{number:064x}"
        blob.write_bytes(content)
        (snapshot / name).symlink_to(Path("../../blobs") / blob.name)


def in_a_process(name: str, cache: Path) -> subprocess.CompletedProcess[str]:
    # the hub's folders are read when its package is imported
    environment = {**os.environ, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, "-c", _LOAD, name], env=environment, capture_output=True, text=True
    )


def test_weights_of_timm_from_the_hub_s_cache(tmp_path):
    torch.manual_seed(0)
    # with its head, as it is published
    whole = timm.create_model(NAME)
    state = safetensors.save(whole.state_dict())
    keep_in_hub(tmp_path, f"timm/{NAME}", {"model.safetensors": state})
    done = in_a_process(f"timm/{NAME}", tmp_path)
    assert done.returncode == 0, done.stderr
    values, mean, here = json.loads(done.stdout.splitlines()[-1])
    (tmp_path / "file.safetensors").write_bytes(state)
    config = BackboneConfig(name=f"timm/{NAME}", weights=str(tmp_path / "file.safetensors"))
    own = build_backbone(config)
    with torch.no_grad():
        expected = own.body.eval()(torch.ones(1, 3, 40, 56)).flatten()
    torch.testing.assert_close(torch.tensor(values), expected)
    assert mean == list(own.normalisation.mean) == [0.5, 0.5, 0.5]
    assert here is True


def test_weights_that_are_not_in_the_cache_are_named(tmp_path):
    done = in_a_process(f"timm/{NAME}", tmp_path)
    assert done.returncode != 0
    last = done.stderr.splitlines()[-1]
    assert last.startswith("OSError: weights: cannot download timm's own for vit_tiny_patch16_224")
    assert "give the path of a local state dict" in last
