"""Detectors trained as candidates of a search, from the data to the front."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path += [str(Path(__file__).parents[1] / name) for name in ("training", "model")]

from dense_specs import ROWS, detector
from scene_files import write_coco

from mnv2search.accuracy.evaluators import train_dense as module
from mnv2search.accuracy.registry import open_evaluator
from mnv2search.accuracy.types import CanHalve, Halving
from mnv2search.errors import EvaluatorError, OptionError
from mnv2search.evaluation import Budget, no_report
from mnv2search.jobs.run import Request
from mnv2search.jobs.run import run as run_job
from mnv2search.model.build import MobileNet, build
from mnv2search.spec.catalog import entry
from mnv2search.spec.codec import load_space
from mnv2search.spec.model_spec import BlockSpec, Classifier
from mnv2search.study.types import Settings
from mnv2search.training.checkpoint import write_network

SPACE = """mnv2search: 1
name: small-detectors
resolution: [33, 48]
width: [0.35, 0.5]
blocks: [{t: 1, c: 16}, {t: [2, 3], c: 24, s: 2}, {t: 3, c: 32, s: 2}]
last: 64
head: {kind: ssdlite, classes: 80, extras: [{c: [32, 64]}]}
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
    outcome = run_job(request, on_progress=lambda _: None)
    assert list((tmp_path / "detectors" / "front").glob("*.yaml"))
    # what is measured has the classes that are learned
    assert {e.spec.head.classes for e in outcome.result.front if e.spec.head} == {2}
    report = (tmp_path / "detectors" / "report.html").read_text(encoding="utf-8")
    assert "latency includes decoding of boxes, not their suppression (head.output: boxes)" in report
    assert "How the candidates&#x27; trainings went" in report


def test_the_evaluator_opens_by_its_own_name(tmp_path: Path) -> None:
    data = write_coco(tmp_path / "data", train=4, val=3, test=3)
    found = open_evaluator(f"train-dense:task=detection,data={data},epochs=2")
    assert open_evaluator(found.info.name).info == found.info
    assert (found.info.metric, found.info.kind) == ("map", "trained")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("task=boxes", "task is 'boxes'"),
        ("task=detection,epochs=-1", "epochs is -1"),
        ("task=detection,halving=1", "halving is 1"),
        ("task=detection,weights=gone.pt", "there is no file gone.pt"),
        ("task=detection,weights=published.pth", "published.pth says nothing of its network"),
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


@pytest.mark.parametrize(
    ("options", "epochs", "rungs"),
    [
        # 16 images make two steps of eight: 150 steps are 75 epochs, evaluated after every 19
        ("", 75, ()),
        (",halving=0", 75, None),
        (",epochs=9", 9, ()),
        (",epochs=180", 180, ()),
        (",epochs=180,halving=2", 180, (90,)),
    ],
)
def test_short_trainings_are_not_compared(
    tmp_path: Path, options: str, epochs: int, rungs: tuple[int, ...] | None
) -> None:
    data = write_coco(tmp_path / "data", train=16, val=3, test=3)
    found = open_evaluator(f"train-dense:task=detection,data={data}{options}")
    assert isinstance(found, CanHalve)
    assert getattr(found, "epochs", None) == epochs
    assert (None if found.halving is None else found.halving.rungs) == rungs


def test_candidates_begin_with_given_weights(tmp_path: Path) -> None:
    data = write_coco(tmp_path / "data", train=16, val=6, test=6)
    (tmp_path / "space.yaml").write_text(SPACE, encoding="utf-8")
    spec = replace(load_space(str(tmp_path / "space.yaml")).template, head=Classifier(classes=5))
    write_network(tmp_path / "classifier.pt", build(spec, seed=3))
    deeper = replace(detector(classes=2), blocks=(*ROWS, BlockSpec(channels=32)))
    begun: list[MobileNet] = []
    options = f"task=detection,data={data},epochs=1,weights={tmp_path / 'classifier.pt'}"
    evaluator = open_evaluator(f"train-dense:{options}")
    longer = open_evaluator(f"train-dense:{options.replace('epochs=1,', '')}")
    assert isinstance(longer, CanHalve)
    assert longer.halving == Halving(rungs=(19,), reduction=3)  # 38 steps; from random weights they tell nothing
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "inherit", lambda new, old: begun.append(old))
        member = evaluator.evaluate(load_space(str(tmp_path / "space.yaml")).template, seed=0, report=no_report)
        other = evaluator.evaluate(deeper, seed=0, report=no_report)
    assert [network.spec.head for network in begun] == [Classifier(classes=5)]
    assert member.note == ""
    assert "has other rows than the first weights" in other.note
