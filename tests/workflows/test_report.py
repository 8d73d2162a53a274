"""The command `report`: the page of a run from its records, and of several runs side by side."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from page_data import page_data
from run_requests import run_request

from mnv2search.accuracy.types import Accuracy
from mnv2search.cost import cost_of
from mnv2search.errors import OptionError, RecordError
from mnv2search.evaluation import Budget, completed
from mnv2search.results.checks import CONFIRMATION, Confirmation, write_confirmations
from mnv2search.results.manifest import read_manifest
from mnv2search.spec.space import resolve
from mnv2search.spec.yaml.codec import load_space
from mnv2search.study.types import Evaluated
from mnv2search.workflows.search.report.importances import importances_of
from mnv2search.workflows.search.report.write import report
from mnv2search.workflows.search.run import run as run_search

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two short searches with different budgets."""
    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNV2SEARCH_CACHE", str(root / "cache"))
        first = run_search(run_request(root, name="first", trials=30, latency_ms=20.0), on_progress=lambda _: None)
        second = run_search(run_request(root, name="second", latency_ms=4.0), on_progress=lambda _: None)
    return first.folder, second.folder


def test_a_report_from_records_is_that_of_the_run(runs: tuple[Path, Path]) -> None:
    page = runs[0] / "report.html"
    whole = page.read_text()
    page.unlink()
    assert report([runs[0]]) == page
    now, before = (_without_effort(text) for text in (page.read_text(), whole))
    assert now == before


def _without_effort(text: str) -> list[str]:
    """The lines except those with numbers that records do not keep."""
    return [
        line for line in text.splitlines() if "latency was only predicted" not in line and "evaluated; " not in line
    ]


@pytest.mark.parametrize(
    "part",
    [
        "What to ship",
        "All networks",
        "Pareto front",
        "Progress of the search",
        "Predicted and measured latency",
        "Importance of choices",
        "Accuracy by choice",
        "Accuracies",
        "Device and noise",
        "How to repeat this run",
    ],
)
def test_a_report_has_every_part(runs: tuple[Path, Path], part: str) -> None:
    assert f"<h2>{part}" in (runs[0] / "report.html").read_text()


def test_a_report_says_how_each_figure_was_determined(runs: tuple[Path, Path]) -> None:
    text = (runs[0] / "report.html").read_text()
    assert "with estimated top1 (imagenet-1k), typically ±" in text
    data = page_data(text)
    assert "are not measured. They are predicted from" in data
    assert '"title":"measured latency, ms"' in data
    assert '"title":"estimated top1 (imagenet-1k), %"' in data
    assert "trained top1" not in text + data


def test_a_comparison_with_the_converter_is_shown(runs: tuple[Path, Path]) -> None:
    agrees = Confirmation(
        name="same",
        converter="other 1.0",
        difference=1e-6,
        converter_difference=1e-6,
        tolerance=1e-4,
        ratio=1.0,
        ratio_half_width=0.01,
    )
    differs = replace(agrees, name="unlike", difference=float("inf"), ratio=1.5)
    write_confirmations(runs[1] / CONFIRMATION, [agrees, differs])
    text = report([runs[1]]).read_text()
    (runs[1] / CONFIRMATION).unlink()
    assert "Compared with other 1.0" in text
    assert "DIFFERS: outputs, latency" in text


def test_a_damaged_comparison_is_refused(runs: tuple[Path, Path]) -> None:
    (runs[1] / CONFIRMATION).write_text('[{"name": 1}]')
    with pytest.raises(RecordError, match="cannot be read"):
        report([runs[1]])
    (runs[1] / CONFIRMATION).unlink()


def test_several_runs_are_on_one_page(runs: tuple[Path, Path], run: Run) -> None:
    done = run("report", *map(str, runs), "--force")
    path = Path(done.out.strip())
    assert (done.code, path) == (0, runs[0].parent / "first+second.html")
    text = path.read_text()
    assert "<h2>first: Pareto front" in text
    assert "<h2>second: Pareto front" in text
    assert "These runs differ in their latency budget" in text


def test_a_file_is_only_replaced_on_request(runs: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "mine.html"
    path.write_text("mine")
    with pytest.raises(OptionError, match="exists"):
        report([runs[0]], output=path)
    assert report([runs[0]], output=path, force=True) == path
    assert path.read_text() == (runs[0] / "report.html").read_text()


def test_a_comparison_is_only_replaced_on_request(runs: tuple[Path, Path]) -> None:
    report(runs, force=True)
    with pytest.raises(OptionError, match="exists"):
        report(runs)


def test_a_run_is_compared_only_with_others(runs: tuple[Path, Path]) -> None:
    with pytest.raises(OptionError, match="given twice"):
        report([runs[0], runs[0] / ".." / runs[0].name])


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no run"):
        report([tmp_path])


def test_a_page_is_opened_on_request(runs: tuple[Path, Path], run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def show(address: str) -> bool:
        opened.append(address)
        return True

    monkeypatch.setattr(webbrowser, "open", show)
    assert run("report", str(runs[0]), "--open").code == 0
    assert opened == [(runs[0] / "report.html").as_uri()]


def test_how_accuracies_were_determined_is_kept(runs: tuple[Path, Path]) -> None:
    detail = read_manifest(runs[0]).accuracy_detail
    assert detail
    assert f"accuracies: {detail}"[:60] in (runs[0] / "report.html").read_text()


def evaluated(pick: tuple[int, ...], accuracy: float, *, axes: int) -> Evaluated:
    """A network of a space whose other choices are the first."""
    whole = load_space("mnv2-multipliers")
    pick = (*pick, *[0] * (axes - len(pick)))
    spec = resolve(whole, pick)
    found = completed(spec, cost=cost_of(spec), latency=None, budget=Budget(latency_ms=5.0), seed=0)
    known = Accuracy(value=accuracy, low=accuracy, high=accuracy, metric="top1", kind="trained", dataset="mine")
    return Evaluated(trial=0, stage="search", pick=pick, evaluation=replace(found, accuracy=known))


def test_the_choice_that_decides_the_accuracy_is_the_most_important() -> None:
    space = load_space("mnv2-multipliers")
    first, second = (range(len(axis.options)) for axis in space.axes[:2])
    items = [evaluated((a, b), 0.5 + 0.02 * b, axes=len(space.axes)) for a in first for b in second]
    found = importances_of(space, items)
    assert found[0].at == space.axes[1].at
    assert sum(one.share for one in found) == pytest.approx(1)
    assert importances_of(space, items[:10]) == ()
