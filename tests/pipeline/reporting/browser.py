"""A report opened in headless Chromium, for the tests that look at it there."""

import os
import shutil
from pathlib import Path

import pytest

CHROMIUM = os.environ.get("WSSS_CHROMIUM") or next(
    (
        path
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (path := shutil.which(name))
    ),
    None,
)
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None,
    reason="no Chromium: install it (apt-get install chromium), or name it in WSSS_CHROMIUM",
)


class Opened:
    """A page that notes its errors and requests."""

    def __init__(self, browser, path: Path, scheme: str = "light") -> None:
        self.noted: list[str] = []
        self.page = browser.new_page(
            viewport={"width": 1300, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
        )
        self.page.on("console", lambda message: self.noted.append(message.text))
        self.page.on("pageerror", lambda error: self.noted.append(str(error)))
        self.page.on("request", lambda request: self.note_request(request.url))
        self.page.goto(path.as_uri())
        self.page.wait_for_selector(".card")

    def note_request(self, url: str) -> None:
        if not url.startswith(("file:", "data:")):
            self.noted.append(url)

    def show_all(self) -> None:
        """Make the window so high that every card is drawn."""
        self.page.set_viewport_size({"width": 1300, "height": 6000})
        # the page is told of what is visible some time later
        self.page.wait_for_function("() => [...visible].length === $('cards').children.length")
        self.settle()

    def settle(self) -> None:
        """Wait until every visible tile of an evaluation has a number."""
        self.page.wait_for_function(
            "() => [...visible].length && [...visible].every((c) => c.querySelector('canvas')) &&"
            " [...document.querySelectorAll('.tile')].every((t) =>"
            " isNaN(t.dataset.layer) || t.dataset.miou !== undefined)"
        )

    def forget(self, kind: str | None = None) -> None:
        """Take away the numbers, of all evaluations or of a kind: `settle` waits for new ones."""
        self.page.evaluate(
            """(kind) => document.querySelectorAll('.tile').forEach((tile) => {
                 const evaluation = list().evaluations[tile.dataset.layer];
                 if (!kind || evaluation?.kind === kind) delete tile.dataset.miou;
               })""",
            kind,
        )

    def slide(self, threshold: float) -> None:
        """Move the slider as a hand would, and wait for the numbers."""
        self.forget("scores")
        self.page.locator("#threshold").fill(str(threshold))
        self.settle()

    def ids(self) -> list[str]:
        return self.page.evaluate("[...$('cards').children].map((card) => card.image.id)")

    def miou(self, evaluation: str) -> dict[str, float]:
        """The number under each image's mask of an evaluation."""
        return self.page.evaluate(
            """(name) => Object.fromEntries([...visible].map((card) => {
                 const index = list().evaluations.findIndex((e) => e.name === name);
                 const tile = card.querySelector(`[data-layer="${index}"]`);
                 return [card.image.id, Number(tile.dataset.miou)];
               }))""",
            evaluation,
        )
