"""The programs of docs/how-to/deploy give the masks of `predict`.

They need packages of npm: WSSS_NODE_MODULES names a folder `node_modules` with onnxruntime-node,
onnxruntime-web and sharp.
"""

import contextlib
import functools
import http.server
import os
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import REPOSITORY
from tests.pipeline.conftest import browser  # noqa: F401, a fixture
from tests.pipeline.deploying.lively import write_lively_segmenter
from wsss.data import read_mask
from wsss.pipeline.export_model import export_model
from wsss.pipeline.predict import predict

EXAMPLES = REPOSITORY / "docs/how-to/deploy"
MODULES = Path(os.environ.get("WSSS_NODE_MODULES", "/nonexistent"))

pytest.importorskip("onnxruntime")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not MODULES.is_dir(), reason="WSSS_NODE_MODULES names no node_modules"),
]


@pytest.fixture(scope="module")
def segmenter_checkpoint(tmp_path_factory) -> Path:
    return write_lively_segmenter(tmp_path_factory.mktemp("network") / "last.ckpt")


@pytest.fixture(scope="module")
def site(segmenter_checkpoint, tmp_path_factory) -> Path:
    """A folder with the programs, their packages, a network and a photograph."""
    folder = tmp_path_factory.mktemp("site")
    exported = export_model(checkpoint=segmenter_checkpoint, output=folder / "exported").parent
    for path in [*EXAMPLES.iterdir(), exported / "model.onnx", exported / "model.json"]:
        shutil.copy(path, folder)
    (folder / "node_modules").symlink_to(MODULES.resolve())
    return folder


@pytest.fixture(scope="module")
def photograph(shapes, site) -> Path:
    """Without loss, so that every program decodes it to the same bytes."""
    (site / "photographs").mkdir()
    path = site / "photographs/one.png"
    with Image.open(next((shapes.root / shapes.images).glob("val_0000.*"))) as image:
        image.convert("RGB").crop((0, 0, 61, 72)).save(path)
    return path


@pytest.fixture(scope="module")
def expected(site, photograph, segmenter_checkpoint) -> np.ndarray:
    masks = predict(
        checkpoint=segmenter_checkpoint, images=photograph.parent, output=site / "o", device="cpu"
    )
    return read_mask(masks / "one.png")


def test_node(site, photograph, expected):
    command = ["node", "segment.mjs", "model.onnx", photograph, "mask.png"]
    done = subprocess.run(command, cwd=site, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (read_mask(site / "mask.png") == expected).mean() >= 0.9999


@contextlib.contextmanager
def served(folder: Path):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_browser(site, photograph, expected, browser):  # noqa: F811
    page = browser.new_page()
    try:
        with served(site) as address:
            page.goto(f"{address}/segment.html")
            page.wait_for_function("document.querySelector('output').textContent === 'ready'")
            page.set_input_files("input", photograph)
            page.wait_for_function("window.mask !== undefined")
            found = np.array(page.evaluate("Array.from(window.mask)"), dtype=np.uint8)
    finally:
        page.close()
    assert (found.reshape(expected.shape) == expected).mean() >= 0.9999
