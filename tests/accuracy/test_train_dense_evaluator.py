"""Detectors trained as candidates of a search, from the data to the front."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "training"))

from scene_files import write_coco

from mnv2search.accuracy.registry import open_evaluator
from mnv2search.errors import EvaluatorError, OptionError
from mnv2search.evaluation import Budget
from mnv2search.jobs.run import Request
from mnv2search.jobs.run import run as run_job
from mnv2search.spec.catalog import entry
from mnv2search.study.types import Settings

SPACE = """mnv2search: 1
name: small-detectors
resolution: [33, 48]
width: [0.35, 0.5]
blocks: [{t: 1, c: 16}, {t: [2, 3], c: 24, s: 2}, {t: 3, c: 32, s: 2}]
last: 64
head: {kind: ssdlite, classes: 2, extras: [{c: [32, 64]}]}
"""


def test_a_search_with_trained_detectors_ends_in_a_front(tmp_path: Path) -> None:
    data = write_coco(tmp_path / "data", train=16, val=6, test=6)
    (tmp_path / "space.yaml").write_text(SPACE, encoding="utf-8")
    request = Request(
        space=str(tmp_path / "space.yaml"),
        device="simulated",
        evaluator=f"train-dense:task=detection,data={data},epochs=1",
        budget=Budget(latency_ms=50.0),
        settings=Settings(trials=4),
        root=tmp_path,
        name="detectors",
    )
    run_job(request, on_progress=lambda _: None)
    assert list((tmp_path / "detectors" / "front").glob("*.yaml"))


def test_the_evaluator_opens_by_its_own_name(tmp_path: Path) -> None:
    data = write_coco(tmp_path / "data", train=4, val=3, test=3)
    found = open_evaluator(f"train-dense:task=detection,data={data},epochs=2")
    assert open_evaluator(found.info.name).info == found.info
    assert (found.info.metric, found.info.kind) == ("map", "trained")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("task=boxes", "task is 'boxes'"),
        ("task=detection,epochs=0", "epochs is 0"),
        ("task=detection,recipe=modern", "which detectors and segmenters lack"),
    ],
)
def test_options_that_cannot_be_used_are_refused(tmp_path: Path, options: str, message: str) -> None:
    data = write_coco(tmp_path / "data", train=4, val=3, test=3)
    with pytest.raises(OptionError, match=message):
        open_evaluator(f"train-dense:data={data},{options}")


@pytest.mark.parametrize("name", ["mobilenet_v2", "deeplabv3_mobilenet_v2"])
def test_networks_of_another_task_are_refused(tmp_path: Path, name: str) -> None:
    data = write_coco(tmp_path / "data", train=4, val=3, test=3)
    evaluator = open_evaluator(f"train-dense:task=detection,data={data}")
    with pytest.raises(EvaluatorError, match=f"{name} is not for detection"):
        evaluator.evaluate(entry(name).spec, seed=0, report=lambda *_: None)
