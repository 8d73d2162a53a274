"""The report of a run on the simulated device."""

from __future__ import annotations

import pytest
from run_requests import run_request

from mnv2search.results.run_report import RunReport
from mnv2search.workflows.search.report.write import run_report_of
from mnv2search.workflows.search.run import run


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> RunReport:
    root = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNV2SEARCH_CACHE", str(root / "cache"))
        outcome = run(run_request(root, space="mnv2", latency_ms=15.0), on_progress=lambda _: None)
    return run_report_of(outcome.folder, outcome.manifest, outcome.result, outcome.finetuned)
