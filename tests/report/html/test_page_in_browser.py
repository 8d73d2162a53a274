"""The report of a run in a real browser: it is drawn, can be operated, fits every width, and is accessible."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import chromium, needs_chromium, opened
from page_data import with_data
from playwright.sync_api import Browser, Page, Position
from run_requests import run_request

from mnv2search.report.html.page import Gallery, Lines, Part, Thumbnail
from mnv2search.report.html.page import page as page_of
from mnv2search.report.rows import Column, Rows
from mnv2search.workflows.search.report.write import report as compare
from mnv2search.workflows.search.run import run

pytestmark = needs_chromium
NETWORK, OTHER = "select[name=network]", "select[name=other]"
ROWS = Rows(
    title="a table",
    columns=tuple(Column(f"a wide column {number}", "ms") for number in range(12)),
    rows=(("1.0",) * 12, ("2.0",) * 12),
    notes=("a note",),
    stressed=frozenset({1}),
)
SELECTED = "select[name=network] option:checked"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a short search on the simulated device."""
    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNV2SEARCH_CACHE", str(root / "cache"))
        request = run_request(root, space="mnv2", latency_ms=15.0)
        return run(request, on_progress=lambda _: None).folder / "report.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def front(report: Path) -> tuple[str, ...]:
    """The names of the networks of the front, fastest first."""
    lines = (report.parent / "front.csv").read_text().splitlines()[1:]
    return tuple(line.split(",")[0] for line in lines)


def width_of(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth"))


def place_of(page: Page, name: str) -> Position:
    """Where a network is drawn, in pixels from the corner of the chart."""
    found = page.evaluate(
        """name => {
          const plot = document.querySelector(".plot"), {xaxis, yaxis} = plot._fullLayout;
          const trace = plot.data.find((one) => (one.text ?? []).some((text) => text.startsWith(name + "<br>")));
          const index = trace.text.findIndex((text) => text.startsWith(name + "<br>"));
          return [xaxis._offset + xaxis.d2p(trace.x[index]), yaxis._offset + yaxis.d2p(trace.y[index])];
        }""",
        name,
    )
    return {"x": found[0], "y": found[1]}


def test_the_network_to_ship_is_selected_first(browser: Browser, report: Path) -> None:
    with opened(browser, report) as page:
        assert page.text_content(SELECTED) == (report.parent / "ship.yaml").read_text().split("name: ")[1].split()[0]


def test_a_click_selects_a_network_and_hover_shows_both_intervals(
    browser: Browser, report: Path, front: tuple[str, ...]
) -> None:
    with opened(browser, report) as page:
        position = place_of(page, front[0])
        page.hover(".plot", position=position)
        shown = page.text_content(".hoverlayer") or ""
        assert front[0] in shown
        assert "estimated top1" in shown
        assert "measured latency" in shown
        page.click(".plot", position=position)
        page.wait_for_url(f"**#network={front[0]}")
        assert page.text_content(SELECTED) == front[0]


def test_the_arrow_keys_walk_along_the_latencies(browser: Browser, report: Path) -> None:
    with opened(browser, report) as page:
        page.focus(".plot")
        page.keyboard.press("Home")
        first = page.text_content(SELECTED)
        page.keyboard.press("c")
        page.keyboard.press("ArrowRight")
        assert page.text_content(SELECTED) != first
        assert page.text_content(f"{OTHER} option:checked") == first
        page.keyboard.press("ArrowLeft")
        assert page.text_content(SELECTED) == first


def test_an_address_and_the_name_in_a_table_select_a_network(
    browser: Browser, report: Path, front: tuple[str, ...]
) -> None:
    with opened(browser, report, place=f"#network={front[0]}") as page:
        assert page.text_content(SELECTED) == front[0]
        page.click(f"td >> text={front[-1]}")
        page.wait_for_function(
            "name => document.querySelector(name[0]).textContent === name[1]", arg=[SELECTED, front[-1]]
        )


def test_the_panel_shows_the_block_diagram_of_the_selected_network(
    browser: Browser, report: Path, front: tuple[str, ...]
) -> None:
    with opened(browser, report, place=f"#network={front[0]}") as page:
        assert page.text_content(".panel .diagram title") == f"Block diagram of {front[0]}"
        box = page.locator(".panel .diagram .block").first
        assert box.evaluate("box => box.getBoundingClientRect().width") == pytest.approx(250, abs=1)
        assert box.evaluate("box => getComputedStyle(box).fill") == "rgb(220, 232, 253)"
        page.select_option(NETWORK, label=front[-1])
        assert page.text_content(".panel .diagram title") == f"Block diagram of {front[-1]}"


def test_filters_and_axes_change_what_is_drawn(browser: Browser, report: Path) -> None:
    with opened(browser, report) as page:
        page.fill("input[name=params]", "0.0001")
        assert (page.text_content("output") or "").startswith("0 of")
        page.fill("input[name=params]", "")
        page.select_option("select[name=x]", "params")
        page.select_option("select[name=y]", "latency")
        titles = page.locator(".plot .xtitle, .plot .ytitle").all_text_contents()
        assert titles == ["parameters, M", "measured latency, ms"]


def test_of_two_runs_a_table_selects_the_network_of_its_own_run(
    browser: Browser, report: Path, front: tuple[str, ...]
) -> None:
    other = shutil.copytree(report.parent, report.parent.with_name("other"))
    path = compare([report.parent, other])
    with opened(browser, path) as page:
        assert page.text_content(SELECTED) != f"{front[0]} (other)"
        page.locator(f"td >> text={front[0]}").last.click()
        selected = [SELECTED, f"{front[0]} (other)"]
        page.wait_for_function("([at, text]) => document.querySelector(at).textContent === text", arg=selected)


@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (1600, "light")])
def test_a_report_fits_its_window(browser: Browser, report: Path, width: int, scheme: str) -> None:
    with opened(browser, report, width=width, scheme=scheme) as page:
        assert width_of(page) == width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_seriously_inaccessible(browser: Browser, report: Path, scheme: str) -> None:
    with opened(browser, report, scheme=scheme) as page:
        found = Axe().run(page).response["violations"]
        assert [one["help"] for one in found if one["impact"] in ("serious", "critical")] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_without_charts_has_no_script_and_is_accessible(browser: Browser, tmp_path: Path, scheme: str) -> None:
    path = tmp_path / "page.html"
    thumbnail = Thumbnail(jpeg=b"", caption="an image")
    parts: list[Part] = [
        ROWS,
        Lines(title="text", lines=("  x < y",)),
        Gallery(title="images", thumbnails=(thumbnail,)),
    ]
    path.write_text(page_of("title", parts))
    with opened(browser, path, width=400, scheme=scheme) as page:
        assert page.locator("script").count() == 0
        assert width_of(page) == 400
        found = Axe().run(page).response["violations"]
        assert [one["help"] for one in found if one["impact"] in ("serious", "critical")] == []


def test_a_dark_page_is_printed_light_with_its_chart(browser: Browser, report: Path) -> None:
    with opened(browser, report, scheme="dark") as page:
        page.evaluate(
            "addEventListener('beforeprint', () => { window.printed = getComputedStyle(document.body).color; })"
        )
        assert page.pdf(format="A4").startswith(b"%PDF")
        assert page.evaluate("window.printed") == "rgb(31, 35, 40)"
        assert page.evaluate("getComputedStyle(document.body).color") == "rgb(230, 237, 243)"


def test_texts_of_a_file_are_not_read_as_html(
    browser: Browser, report: Path, tmp_path: Path, front: tuple[str, ...]
) -> None:
    hostile = "<img src=x onerror=alert(1)></script><b>"
    text = with_data(report.read_text(), lambda data: data.replace(json.dumps(front[0]), json.dumps(hostile)))
    (tmp_path / "hostile.html").write_text(text)
    with opened(browser, tmp_path / "hostile.html") as page:
        page.select_option(NETWORK, label=hostile)
        assert hostile in (page.text_content(".panel thead") or "")
        assert page.locator(".panel img, .plot img").count() == 0
