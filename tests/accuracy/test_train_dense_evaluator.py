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
from mnv2search.accuracy.types import CanHalve, Halving, KeepsWeights
from mnv2search.errors import EvaluatorError, OptionError
from mnv2search.evaluation import Budget, no_report
from mnv2search.jobs.predict import predict
from mnv2search.jobs.run import Outcome, Request
from mnv2search.jobs.run import run as run_job
from mnv2search.jobs.search import search
from mnv2search.model.build import MobileNet, build
from mnv2search.model.saved import read_learned, read_network
from mnv2search.report.run import ship_lines
from mnv2search.spec.catalog import entry
from mnv2search.spec.codec import load_space, loads
from mnv2search.spec.model_spec import BlockSpec, Classifier
from mnv2search.spec.space import SearchSpace
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


@pytest.fixture(scope="module")
def request_of_run(tmp_path_factory: pytest.TempPathFactory) -> Request:
    root = tmp_path_factory.mktemp("runs")
    data = write_coco(root / "data", train=16, val=6, test=6)
    (root / "space.yaml").write_text(SPACE, encoding="utf-8")
    return Request(
        space=str(root / "space.yaml"),
        device="simulated",
        evaluator=f"train-dense:task=detection,data={data},epochs=1",
        budget=Budget(latency_ms=50.0),
        settings=Settings(trials=4),
        root=root,
        name="detectors",
    )


@pytest.fixture(scope="module")
def outcome(request_of_run: Request) -> Outcome:
    return run_job(request_of_run, on_progress=lambda _: None)


def test_a_search_with_trained_detectors_ends_in_a_front(outcome: Outcome) -> None:
    assert list((outcome.folder / "front").glob("*.yaml"))
    # what is measured has the classes that are learned
    assert {e.spec.head.classes for e in outcome.result.front if e.spec.head} == {2}
    report = (outcome.folder / "report.html").read_text(encoding="utf-8")
    assert "latency includes decoding of boxes, not their suppression (head.output: boxes)" in report
    assert "How the candidates&#x27; trainings went" in report


def test_the_weights_of_the_front_are_kept_and_those_of_no_other_network(outcome: Outcome) -> None:
    folder, front, ship = outcome.folder, outcome.result.front, outcome.result.ship
    assert ship is not None
    assert {read_network(folder / "front" / f"{e.spec.name}.pt").spec for e in front} == {e.spec for e in front}
    assert read_network(folder / "ship.pt").spec == ship.spec
    lines = "\n".join(ship_lines(outcome.result, folder=folder))
    assert f"weights: {folder / 'ship.pt'}, of a training as short as a candidate's" in lines
    assert len(list((folder / "front").glob("*.pt"))) == len(list((folder / "work").glob("*.pt"))) == len(front)


def test_a_front_that_changes_has_its_own_weights(outcome: Outcome, request_of_run: Request) -> None:
    more = run_job(replace(request_of_run, settings=Settings(trials=6)), on_progress=lambda _: None)
    names = {f"{e.spec.name}.pt" for e in more.result.front}
    assert {path.name for path in (outcome.folder / "front").glob("*.pt")} == names


def test_a_kept_detector_finds_in_a_scene_what_has_a_name(tmp_path: Path) -> None:
    data = write_coco(tmp_path / "data", train=8, val=3, test=3)
    spec = detector(classes=2, score_threshold=0.0, detections=5)
    evaluator = open_evaluator(f"train-dense:task=detection,data={data},epochs=1")
    assert isinstance(evaluator, KeepsWeights)
    assert evaluator.kept(spec) is None
    evaluator.keep_weights(tmp_path / "kept")
    evaluator.evaluate(spec, seed=0, report=no_report)
    kept = evaluator.kept(spec)
    assert kept is not None
    image = next((tmp_path / "data").rglob("*.jpg"), None) or next((tmp_path / "data").rglob("*.png"))
    (found,) = predict(kept, [image], folder=tmp_path / "out", least_score=0.0)
    learned = read_learned(kept)
    assert learned is not None
    assert {one.name for one in found.found} <= set(learned.classes)
    assert learned.normalization == "imagenet"


def test_the_networks_of_a_search_from_python_get_the_classes_of_the_data(tmp_path: Path) -> None:
    data = write_coco(tmp_path / "data", train=8, val=3, test=3)
    space = loads(SPACE)
    assert isinstance(space, SearchSpace)
    found = search(
        space, budget=50.0, device="simulated", evaluator=f"train-dense:task=detection,data={data},epochs=1", trials=2
    )
    assert {e.spec.head.classes for e in found.front if e.spec.head} == {2}


def test_a_search_from_python_refuses_another_head_than_the_data_asks_for(tmp_path: Path) -> None:
    data = write_coco(tmp_path / "data", train=8, val=3, test=3)
    with pytest.raises(OptionError, match="mnv2 has no detector's head"):
        search("mnv2", budget=50.0, device="simulated", evaluator=f"train-dense:task=detection,data={data}", trials=2)


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
