"""The report in a real browser: it must show what Python computes, and make no error."""

import json
import re

import numpy as np
import pytest

from tests.conftest import SHAPES, load_prepare
from tests.pipeline.reporting.browser import Opened, needs_chromium
from tests.pipeline.reporting.report_run import ReportRun, expected_miou, make_run
from wsss.data import DataConfig, load_records, read_mask, write_mask
from wsss.metrics import ImageCounts
from wsss.pipeline.eval_miou import eval_miou
from wsss.pipeline.report import report

pytestmark = [needs_chromium, pytest.mark.slow]  # it takes seconds to start, and to end


@pytest.fixture(scope="module")
def run(shapes, classifier_checkpoint, tmp_path_factory) -> ReportRun:
    return make_run(tmp_path_factory.mktemp("report") / "run", shapes, classifier_checkpoint)


@pytest.fixture
def opened(browser, run, tmp_path):
    opened = Opened(browser, report([run.folder], tmp_path))
    for name in ("sweep", "per_class", "score_masks"):
        opened.page.locator("#shown").get_by_label(name).check()
    opened.show_all()
    yield opened
    opened.page.close()
    assert opened.noted == [], "errors in the console, or requests to the network"


def test_numbers_follow_the_slider_and_are_those_of_python(opened, run):
    seen = []
    for threshold in (0.25, 0.5, 0.8):
        opened.slide(threshold)
        found = opened.miou("sweep")
        assert len(found) == 12
        for image_id, miou in found.items():
            # one pixel of 5,184 that lies on the threshold may be rounded to the other side
            assert miou == pytest.approx(expected_miou(run, image_id, threshold), abs=2e-4)
        seen.append(tuple(found.values()))
    assert len(set(seen)) == 3
    text = opened.page.locator(".card").first.text_content()
    first = opened.ids()[0]
    shown = float(re.search(r"sweep: ([\d.]+)", text)[1])
    assert shown == pytest.approx(100 * expected_miou(run, first, 0.8), abs=0.05 + 0.02)


def test_as_chosen_are_the_numbers_of_eval_miou(opened, run):
    opened.slide(0.9)
    opened.forget("scores")
    opened.page.locator("#reset").click()
    opened.page.wait_for_function("document.getElementById('level').textContent === 'as chosen'")
    opened.settle()
    for name in ("sweep", "per_class", "score_masks"):
        counts = ImageCounts.read(run.folder / name / "images.npz")
        expected = dict(zip(counts.image_ids, counts.miou(), strict=True))
        found = opened.miou(name)
        assert found.keys() == expected.keys()
        for image_id, miou in found.items():
            assert miou == pytest.approx(expected[image_id], abs=2e-4), name


def test_the_miou_of_the_whole_list_is_that_of_the_sweep(opened, run):
    rows = (run.folder / "sweep/sweep.csv").read_text().splitlines()[1:]
    curve = {float(row.split(",")[0]): float(row.split(",")[1]) for row in rows}
    for threshold in (0.3, 0.62):
        opened.slide(threshold)
        text = opened.page.locator("#pooled").inner_text()
        both = f"{100 * curve[threshold]:.1f}"  # the same maps: they differ as chosen, not here
        assert text == f"mIoU of all 12 images: per_class {both}, sweep {both}"


def test_order_and_filters(opened, run):
    counts = ImageCounts.read(run.folder / "score_masks/images.npz")
    by_miou = [counts.image_ids[i] for i in np.argsort(counts.miou(), kind="stable")]
    page = opened.page
    assert opened.ids() == by_miou
    page.locator("#order").select_option("best")
    assert [counts.miou()[counts.image_ids.index(i)] for i in opened.ids()] == sorted(
        counts.miou(), reverse=True
    )
    page.locator("#order").select_option("random")
    assert sorted(opened.ids()) == sorted(by_miou)
    assert opened.ids() != by_miou
    page.locator("#order").select_option("worst")
    for name, value in SHAPES.items():
        page.locator("#class").select_option(name)
        expected = [
            image_id
            for image_id in by_miou
            if value in np.unique(read_mask(run.data.root / run.data.masks / f"{image_id}.png"))
            or value in np.unique(read_mask(run.masks / f"{image_id}.png"))
        ]
        assert 0 < len(expected) < 12, "the class is everywhere or nowhere; the test is weak"
        assert opened.ids() == expected
        assert page.locator("#count").inner_text() == f"{len(expected)} of 12 images"
    page.locator("#class").select_option("all classes")
    errors = counts.errors()
    kinds = np.array(errors._fields)[np.argmax(errors, axis=0)]
    shown = 0
    for kind in errors._fields:
        page.locator("#error").select_option(kind)
        wanted = {
            counts.image_ids[i]
            for i in np.flatnonzero((kinds == kind) & (np.max(errors, axis=0) >= 0.01))
        }
        assert set(opened.ids()) == wanted
        shown += len(wanted)
    assert shown > 6


def test_by_keyboard_alone(opened):
    page = opened.page
    page.keyboard.press("t")
    assert page.evaluate("document.activeElement.id") == "threshold"
    before = page.locator("#level").inner_text()
    page.keyboard.press("ArrowRight")
    assert page.locator("#level").inner_text() != before
    first, second, third = opened.ids()[:3]
    page.locator(".card").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.image.id") == second
    page.keyboard.press("Enter")
    assert page.locator("#detail").is_visible()
    assert second in page.locator("#detail h4").text_content()
    page.keyboard.press("ArrowRight")
    assert third in page.locator("#detail h4").text_content()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert first in page.locator("#detail h4").text_content()
    page.keyboard.press("Escape")
    assert not page.locator("#detail").is_visible()


def test_errors_are_painted_where_they_are(opened, run):
    """The view of errors leaves right pixels as the photograph has them."""
    page = opened.page
    opened.forget()
    page.locator("#view").select_option("errors")
    opened.settle()
    painted = page.evaluate(
        """() => {
             const card = $('cards').firstChild, tiles = [...card.querySelectorAll('.tile')];
             const [photo, ...rest] = tiles.map((t) => t.firstChild);
             const index = list().evaluations.findIndex((e) => e.name === 'score_masks');
             const mask = tiles.find((t) => t.dataset.layer === String(index)).firstChild;
             const read = (c) => c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
             const a = read(photo), b = read(mask), changed = [];
             for (let i = 0; i < a.length; i += 4)
               changed.push(a[i] !== b[i] || a[i + 1] !== b[i + 1] || a[i + 2] !== b[i + 2]);
             return [card.image.id, changed];
           }"""
    )
    truth = read_mask(run.data.root / run.data.masks / f"{painted[0]}.png")
    mask = read_mask(run.masks / f"{painted[0]}.png")
    wrong = (truth != mask) & (truth != 255)
    assert 0.05 < wrong.mean() < 0.95, "nearly all or nothing is wrong; the test is weak"
    assert np.mean(np.array(painted[1]).reshape(truth.shape) == wrong) > 0.99


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_legible_in_light_and_dark(browser, run, tmp_path, scheme):
    opened = Opened(browser, report([run.folder], tmp_path, images=2), scheme)
    opened.page.evaluate("document.getElementById('cards').scrollIntoView()")
    opened.settle()
    contrasts = opened.page.evaluate(
        """() => {
             const luminance = (text) => {
               const [r, g, b] = text.match(/[\\d.]+/g).map((v) => v / 255)
                 .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
               return 0.2126 * r + 0.7152 * g + 0.0722 * b;
             };
             const ground = luminance(getComputedStyle(document.body).backgroundColor);
             return ['h1', '.faint', 'a', 'td', 'svg text', 'figcaption'].map((selector) => {
               const style = getComputedStyle(document.querySelector(selector));
               const ink = luminance(selector === 'svg text' ? style.fill : style.color);
               return [selector, (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05)];
             });
           }"""
    )
    assert {name: value for name, value in contrasts if value < 4.5} == {}  # WCAG 2.2, AA
    ground = "getComputedStyle(document.body).backgroundColor"
    before = opened.page.evaluate(ground)
    opened.page.locator("#theme").click()
    assert opened.page.evaluate(ground) != before
    opened.page.close()
    assert opened.noted == []


def test_400_images_draw_only_what_is_seen(browser, tmp_path):
    root = tmp_path / "set"
    load_prepare().prepare(root, seed=2, train=400, val=2, size=40)
    data = DataConfig(root=root, classes=SHAPES)
    for record in load_records(data, "train", with_labels=False):
        write_mask(tmp_path / f"masks/{record.image_id}.png", np.roll(read_mask(record.mask), 3, 0))
    out = tmp_path / "run"
    eval_miou(data=data, split="train", predictions=tmp_path / "masks", output=out)
    opened = Opened(browser, report([out], tmp_path, images=400))
    page = opened.page
    page.evaluate("document.getElementById('cards').scrollIntoView()")
    page.wait_for_timeout(300)
    opened.settle()
    assert page.locator(".card").count() == 400
    assert 0 < page.locator(".card canvas").count() < 200
    last = page.locator(".card").last
    last.scroll_into_view_if_needed()
    last.locator("canvas").first.wait_for()
    opened.settle()
    assert page.locator(".card canvas").count() < 200, "what is out of sight is given up"
    assert json.loads((out / "eval.json").read_text())["images"] == 400
    page.close()
    assert opened.noted == []


def test_lists_changed_in_haste_leave_no_error_and_no_blank(browser, run, tmp_path):
    """Images that were still being unpacked belong to the list that was left."""
    masks = run.data.root / run.data.masks
    eval_miou(data=run.data, split="val", predictions=masks, output=tmp_path / "other/score_val")
    opened = Opened(browser, report([run.folder, tmp_path / "other"], tmp_path))
    page = opened.page
    page.evaluate("document.getElementById('images').scrollIntoView()")
    for i in range(15):
        page.locator("#lists").select_option(index=i % 2)
        page.wait_for_timeout(20)
    page.locator("#lists").select_option(index=1)
    opened.show_all()
    assert page.locator("#count").inner_text() == "6 of 6 images"
    assert set(opened.miou("other/score_val").values()) == {1.0}
    page.locator("#lists").select_option(index=0)
    opened.settle()
    assert len(opened.miou("run/score_masks")) == 12
    kept = page.evaluate("gallery.lists.flatMap((l) => l.images).filter((i) => i.loaded).length")
    assert kept <= 12, "what is out of sight is given up"
    page.close()
    assert opened.noted == []
