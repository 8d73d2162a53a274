"""The time that a browser takes to open a report, and its size: `python benchmarks/report_opening.py`.

A search on the simulated device writes the report, and headless Chromium opens it several times. The time is measured
from the start of the navigation until all charts are drawn. Needs `chromium` and the extra `dev`.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

import mnv2search

NETWORKS = (30, 300)
OPENINGS = 7


def report_of(networks: int, root: Path) -> Path:
    """Run a search of a number of networks; returns the path of its report."""
    outcome = mnv2search.run(
        latency_ms=15.0, device="simulated", trials=networks, name=str(networks), output_dir=root, confirm=False
    )
    return outcome.folder / "report.html"


def opening_s(browser: Browser, path: Path) -> float:
    """Time until all charts of a report are drawn."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.add_init_script(
        "new MutationObserver(() => {"
        "  if (document.documentElement?.dataset.drawn === '') window.drawnAt ??= performance.now();"
        "}).observe(document, {attributes: true, subtree: true});"
    )
    page.goto(path.as_uri())
    page.wait_for_function("window.drawnAt")
    elapsed_ms = float(page.evaluate("window.drawnAt"))
    page.close()
    return elapsed_ms / 1000


def main() -> None:
    """Print a line for each number of networks."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("chromium is not installed (apt-get install chromium)")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for networks in NETWORKS:
            path = report_of(networks, Path(folder))
            times = sorted(opening_s(browser, path) for _ in range(OPENINGS))
            spread = f"{times[0]:.2f} to {times[-1]:.2f}"
            size = f"{path.stat().st_size / 1000:.0f} kB"
            print(f"{networks} networks: {size}, opened in {statistics.median(times):.2f} s (median; {spread})")
        browser.close()


if __name__ == "__main__":
    main()
