"""Requests of short runs on the simulated device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scene_files import write_coco

from mnv2search.evaluation import Budget
from mnv2search.results.run_report import RunReport
from mnv2search.study.types import Settings
from mnv2search.workflows.search.report.write import run_report_of
from mnv2search.workflows.search.run import Request, run

__all__ = ["DETECTORS", "detectors_request", "run_request", "simulated_report"]

DETECTORS = """mnv2search: 1
name: small-detectors
resolution: [33, 48]
width: [0.35, 0.5]
blocks: [{t: 1, c: 16}, {t: [2, 3], c: 24, s: 2}, {t: 3, c: 32, s: 2}]
last: 64
head: {kind: ssdlite, classes: 80, extras: [{c: [32, 64]}]}
"""


def run_request(root: Path, *, trials: int = 16, latency_ms: float = 5.0, **fields: Any) -> Request:
    """A search among the multipliers of MobileNetV2, or with other fields."""
    usual: dict[str, Any] = {
        "space": "mnv2-multipliers",
        "device": "simulated",
        "evaluator": "imagenet",
        "budget": Budget(latency_ms=latency_ms),
        "settings": Settings(trials=trials),
        "name": "run",
    }
    return Request(root=root, **(usual | fields))


def detectors_request(root: Path, settings: Settings, **fields: Any) -> Request:
    """A search among small detectors, each trained for an epoch on scenes that are written to `root/data`."""
    data = write_coco(root / "data", train=16, val=6, test=6)
    (root / "space.yaml").write_text(DETECTORS, encoding="utf-8")
    usual = {"space": str(root / "space.yaml"), "evaluator": f"train-dense:task=detection,data={data},epochs=1"}
    return run_request(root, settings=settings, latency_ms=50.0, **({"name": "detectors"} | usual | fields))


def simulated_report(root: Path) -> RunReport:
    """The report of a run among the networks of `mnv2`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNV2SEARCH_CACHE", str(root / "cache"))
        outcome = run(run_request(root, space="mnv2", latency_ms=15.0), on_progress=lambda _: None)
    return run_report_of(outcome.folder, outcome.manifest, outcome.result, outcome.finetuned)
