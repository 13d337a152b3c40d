"""A server that speaks S3, in this process on loopback: what the memory file system cannot show."""

import socket
from pathlib import Path

import pytest
import torch

from tests.conftest import CPU, SHAPES, SMALL
from tests.pipeline.conftest import ONE_SIZE
from wsss.cli import main
from wsss.data import DataConfig, to_path
from wsss.data.storage import existing, file_names
from wsss.models import BackboneConfig
from wsss.pipeline.eval_miou import eval_miou
from wsss.pipeline.make_pseudo_masks import make_pseudo_masks
from wsss.pipeline.train_cls import train_cls
from wsss.tasks.trainer import TrainerConfig

HOW = "pip install 'moto[server]' s3fs"
s3fs = pytest.importorskip("s3fs", reason=f"needs s3fs: {HOW}")
moto_server = pytest.importorskip("moto.server", reason=f"needs moto's server: {HOW}")

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def bucket():
    """A bucket of a server that lives as long as this file's tests."""
    server = moto_server.ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for key, value in {**KEYS, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}.items():
            patch.setenv(key, value)
        s3fs.S3FileSystem.clear_instance_cache()
        root = to_path("s3://bucket")
        root.fs.mkdir("bucket")
        yield root
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture(scope="module")
def s3_shapes(shapes, bucket) -> DataConfig:
    root = bucket / "shapes"
    root.fs.put(str(shapes.root), root.path, recursive=True)
    return DataConfig(root=root, classes=SHAPES)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in file_names(folder)}


def test_masks_and_their_scores_are_those_of_a_folder(
    shapes, s3_shapes, classifier_checkpoint, bucket, tmp_path
):
    """With the worker processes or threads that the command really has."""
    checkpoint = bucket / "cls/best.ckpt"
    checkpoint.write_bytes(classifier_checkpoint.read_bytes())
    settings = {"split": "val", "multiscale": ONE_SIZE, "save_scores": True, "device": "cpu"}
    threads = torch.get_num_threads()
    for data, model, output in (
        (shapes, classifier_checkpoint, tmp_path / "run"),
        (s3_shapes, checkpoint, bucket / "run"),
    ):
        make_pseudo_masks(data=data, output=output, checkpoint=model, workers=1, **settings)
        eval_miou(data, "val", output / "e", predictions=output / "masks", resamples=20)
        eval_miou(data, "val", output / "s", scores=output / "scores", resamples=20)
    torch.set_num_threads(threads)
    for part in ("masks", "scores"):
        assert len(contents(bucket / "run" / part)) == 6
        assert contents(bucket / "run" / part) == contents(tmp_path / "run" / part)
    for file in ("e/images.npz", "e/eval.csv", "s/images.npz", "s/threshold.json"):
        assert (bucket / "run" / file).read_bytes() == (tmp_path / "run" / file).read_bytes()


def test_what_another_machine_wrote_is_seen(bucket):
    path = bucket / "others/a.png"
    assert existing([path]) == set()
    (bucket / "others/b.png").write_bytes(b"")
    assert file_names(bucket / "others") == {"b.png"}
    other = s3fs.S3FileSystem(skip_instance_cache=True)
    other.pipe_file(path.path, b"")
    assert existing([path]) == {path}
    assert path.is_file()
    other.rm(path.path)
    assert existing([path]) == set()
    other.pipe_file(path.path, b"")
    assert path.is_file(), "the listing before was asked"


def test_a_listing_is_longer_than_a_page(bucket):
    """S3 lists 1,000 keys at a time."""
    wanted = {f"{i:04d}.png" for i in range(1003)}
    bucket.fs.pipe({f"bucket/many/{name}": b"x" for name in wanted})
    assert file_names(bucket / "many") == wanted


def test_loader_processes_read_images_after_a_fork(s3_shapes, tmp_path):
    """The listing was made by the parent's connections, which a child must not use."""
    train_cls(
        data=s3_shapes,
        output=tmp_path / "run",
        model=BackboneConfig(name="squeezenet1_0"),
        augment=SMALL,
        epochs=1,
        batch_size=6,
        trainer=TrainerConfig(accelerator="cpu", devices=CPU.devices, workers=1),
    )
    assert (tmp_path / "run/best.ckpt").is_file()


def test_a_missing_bucket_is_named_and_not_made(s3_shapes, bucket):
    with pytest.raises(FileNotFoundError, match=r"data\.root: no such folder: s3://typo/shapes"):
        eval_miou(DataConfig(root=to_path("s3://typo/shapes")), "val", bucket, predictions=bucket)
    masks = s3_shapes.root / "SegmentationClass"
    with pytest.raises(OSError, match="s3://typo/eval"):
        eval_miou(s3_shapes, "val", to_path("s3://typo/eval"), predictions=masks, resamples=20)
    assert not bucket.fs.exists("typo")


def test_no_credentials_and_no_server_are_one_line(bucket, monkeypatch, capsys):
    words = ["--split", "val", "--predictions", "s3://b/x", "--output", "x"]
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for key, value in (
        ("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}"),
        *dict.fromkeys(KEYS, "").items(),
    ):
        monkeypatch.setenv(key, value)
        s3fs.S3FileSystem.clear_instance_cache()
        assert main(["eval_miou", "--data.root", "s3://b/x", *words]) == 1
        error = capsys.readouterr().err
        assert error.startswith("wsss eval_miou: error: ")
        assert "Traceback" not in error
    s3fs.S3FileSystem.clear_instance_cache()
