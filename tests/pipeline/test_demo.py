"""The road of ``make demo`` on a dozen images, to its report in a browser."""

import re
import shutil
from importlib import util

import pytest
import yaml

from tests.conftest import REPOSITORY, SHAPES, load_prepare
from tests.pipeline.reporting.browser import Opened, needs_chromium
from tests.pipeline.reporting.report_run import ReportRun, expected_miou
from wsss.data import DataConfig
from wsss.pipeline.run import run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> ReportRun:
    """configs/shapes/run.yaml with one epoch on 12 + 6 images."""
    pytest.importorskip("pydensecrf", reason="pydensecrf2 does not build on Python 3.13")
    folder = tmp_path_factory.mktemp("demo")
    root = folder / "set"
    load_prepare().prepare(root, seed=1, train=12, val=6, size=112)
    config = yaml.safe_load((REPOSITORY / "configs/shapes/run.yaml").read_text(encoding="utf-8"))
    for step in config["steps"]:
        if step["command"].startswith("train_"):
            step |= {"epochs": 1, "batch_size": 6}
            step["trainer"] = {"accelerator": "cpu", "devices": 1, "workers": 0}
        if step["command"] == "make_pseudo_masks":
            step["workers"] = 1
    data = DataConfig(root=root, classes=SHAPES)
    run(data=data, steps=config["steps"], output=folder / "run")
    done = folder / "run"
    return ReportRun(done, data, done / "scores_tif/scores", done / "masks/masks")


def test_it_ends_with_its_table(demo, capsys):
    spec = util.spec_from_file_location("summarise", REPOSITORY / "tools/summarise_demo.py")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    rows = module.table(demo.folder).splitlines()[2:]
    assert len(rows) == 7
    assert all(re.search(r"(train|val) +\d+\.\d", row) for row in rows)
    assert "chosen without masks" in rows[4]


@needs_chromium
def test_its_report_shows_what_python_computes(demo, browser, tmp_path):
    page = tmp_path / "report.html"
    shutil.copy(demo.folder / "report/report.html", page)
    opened = Opened(browser, page)
    lists = opened.page.locator("#lists option").all_text_contents()
    assert lists == ["train (set)", "val (set)"]
    opened.page.locator("#shown").get_by_label("sweep_tif", exact=True).check()
    opened.show_all()
    before = opened.miou("sweep_tif")
    opened.slide(0.55)
    found = opened.miou("sweep_tif")
    assert len(found) == 12
    assert found != before
    for image_id, miou in found.items():
        # one pixel of 12,544 that lies on the threshold may be rounded to the other side
        assert miou == pytest.approx(expected_miou(demo, image_id, 0.55), abs=2e-4)
    opened.page.locator("#class").select_option("star")
    assert 0 < len(opened.ids()) < 12
    opened.page.close()
    assert opened.noted == []
