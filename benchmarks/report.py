"""How large a report is, and how long Chromium takes until its gallery stands.

    python benchmarks/report.py --report report.html --json FILE

Seconds are of this machine; the smallest of several openings. Needs ``pip install -e '.[dev]'`` and
a Chromium, by its usual name or in ``WSSS_CHROMIUM``.
"""

import os
import shutil
import time
from pathlib import Path

from jsonargparse import auto_cli
from playwright.sync_api import sync_playwright
from ratios import write_ratios


def main(report: Path, json: Path | None = None, turns: int = 3) -> None:
    """Measure and print.

    Args:
        report: The file.
        json: File to write the numbers to.
        turns: How often it is opened.
    """
    path = os.environ.get("WSSS_CHROMIUM") or shutil.which("chromium")
    seconds = []
    with sync_playwright() as playwright:
        for _ in range(turns):
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1400, "height": 1000})
            start = time.perf_counter()
            page.goto(report.resolve().as_uri())
            page.wait_for_selector(".card")
            seconds.append(time.perf_counter() - start)
            browser.close()
    size = report.stat().st_size / 1e6
    write_ratios({"megabytes": size, "seconds_to_open": min(seconds)}, json)


if __name__ == "__main__":
    auto_cli(main, as_positional=False)
