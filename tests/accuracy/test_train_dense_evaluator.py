"""Detectors trained as candidates of a search, from the data to the front."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from fittings import fitting_in
from run_requests import DETECTORS as SPACE
from run_requests import detectors_request

sys.path.append(str(Path(__file__).parents[1] / "model"))

from dense_specs import ROWS, detector
from scene_files import write_coco

from mnv2search.accuracy.evaluator import Fitting, Halving
from mnv2search.accuracy.evaluators import train as module
from mnv2search.accuracy.registry import open_evaluator
from mnv2search.errors import EvaluatorError, OptionError
from mnv2search.evaluation import no_report
from mnv2search.model.build import MobileNet, build
from mnv2search.model.weights.network_file import read_learned, read_network
from mnv2search.report.search.run import ship_lines
from mnv2search.spec.catalog import entry
from mnv2search.spec.model_spec import BlockSpec, Classifier
from mnv2search.spec.space import SearchSpace
from mnv2search.spec.yaml.codec import load_space, loads
from mnv2search.study.types import Settings
from mnv2search.training.checkpoint import write_network
from mnv2search.workflows.search.api import search
from mnv2search.workflows.search.run import Outcome, Request
from mnv2search.workflows.search.run import run as run_job
from mnv2search.workflows.training.predict import predict


@pytest.fixture(scope="module")
def request_of_run(tmp_path_factory: pytest.TempPathFactory) -> Request:
    return detectors_request(tmp_path_factory.mktemp("runs"), Settings(trials=4))


@pytest.fixture(scope="module")
def outcome(request_of_run: Request) -> Outcome:
    return run_job(request_of_run, on_progress=lambda _: None)


def test_a_search_with_trained_detectors_ends_in_a_front(outcome: Outcome) -> None:
    assert list((outcome.folder / "front").glob("*.yaml"))
    # what is measured has the classes that are learned
    assert {e.spec.head.classes for e in outcome.result.front if e.spec.head} == {2}
    report = unescape((outcome.folder / "report.html").read_text(encoding="utf-8"))
    assert "latency includes decoding of boxes, not their suppression (head.output: boxes)" in report
    assert "Trainings of candidates" in report


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
    assert evaluator.weights_file(spec) is None
    evaluator.keep_weights(tmp_path / "kept")
    evaluator.evaluate(spec, seed=0, report=no_report)
    kept = evaluator.weights_file(spec)
    assert kept is not None
    image = next((tmp_path / "data").rglob("*.jpg"), None) or next((tmp_path / "data").rglob("*.png"))
    (found,) = predict(kept, [image], output=tmp_path / "out", score=0.0)
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
        ("task=detection,weights=published.pth", "published.pth does not name its network"),
        ("task=detection,recipe=modern", "which detection does not use"),
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
    assert getattr(found, "epochs", None) == epochs
    assert (None if found.halving is None else found.halving.rungs) == rungs


def test_candidates_begin_with_given_weights(tmp_path: Path) -> None:
    data = write_coco(tmp_path / "data", train=16, val=6, test=6)
    (tmp_path / "space.yaml").write_text(SPACE, encoding="utf-8")
    spec = replace(load_space(str(tmp_path / "space.yaml")).template, head=Classifier(classes=5))
    write_network(tmp_path / "classifier.pt", build(spec, seed=3))
    deeper = replace(detector(classes=2), blocks=(*ROWS, BlockSpec(channels=40)))
    begun: list[MobileNet] = []
    options = f"task=detection,data={data},epochs=1,weights={tmp_path / 'classifier.pt'}"
    evaluator = open_evaluator(f"train-dense:{options}")
    longer = open_evaluator(f"train-dense:{options.replace('epochs=1,', '')}")
    assert longer.halving == Halving(rungs=(19,), reduction=3)  # 38 steps; from random weights they tell nothing
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "inherit", lambda new, old: begun.append(old))
        member = evaluator.evaluate(load_space(str(tmp_path / "space.yaml")).template, seed=0, report=no_report)
        other = evaluator.evaluate(deeper, seed=0, report=no_report)
    assert [network.spec.head for network in begun] == [Classifier(classes=5)]
    assert member.note == ""
    assert "has other numbers of rows than the initial weights" in other.note


def test_rows_that_belong_to_a_stage_take_over_its_weights(tmp_path: Path) -> None:
    data = write_coco(tmp_path / "data", train=16, val=6, test=6)
    spec = detector(classes=2)
    write_network(tmp_path / "first.pt", build(spec, seed=3))
    # as in a space that chooses for every repeat on its own: a row more, of the same stage
    rows = replace(spec, blocks=(*ROWS, replace(ROWS[-1], stride=1, expansion=2)))
    evaluator = open_evaluator(f"train-dense:task=detection,data={data},epochs=1,weights={tmp_path / 'first.pt'}")
    begun: list[MobileNet] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "inherit", lambda new, old: begun.append(new))
        found = evaluator.evaluate(rows, seed=0, report=no_report)
    assert [network.spec.blocks for network in begun] == [rows.blocks]
    assert found.note == ""


ONE = detector(classes=2)
fitting_of = partial(fitting_in, SPACE, tuple((index, 0, 0, 0) for index in range(2)))


@pytest.mark.parametrize(
    ("options", "time_s", "steps", "trainings"),
    [
        ("", 1000.0, 150, 6),
        ("", 480.0, 120, 4),
        ("", 250.0, 125, 2),
        ("", 120.0, 120, 1),
        ("", 99.0, 100, 0),
        (",epochs=75", 250.0, 150, 1),  # what was asked for is not shortened
    ],
)
def test_trainings_are_as_long_as_the_time_allows(
    tmp_path: Path, options: str, time_s: float, steps: int, trainings: int
) -> None:
    data = write_coco(tmp_path / "data", train=16, val=3, test=3)
    evaluator = open_evaluator(f"train-dense:task=detection,data={data}{options}")
    found = fitting_of(evaluator, time_s=time_s)
    assert (found.trainings, found.wanted_s) == (trainings, 600.0)
    assert f"{steps} steps takes about {steps} s" in found.told
    assert evaluator.expected_s(ONE) == steps
    assert ("shortened from 150 steps" in found.told) == (trainings > 0 and steps < 150)
    assert ("the shortest useful length" in found.told) == (trainings == 0)


def test_rungs_follow_the_length_of_the_trainings(tmp_path: Path) -> None:
    data = write_coco(tmp_path / "data", train=16, val=3, test=3)
    evaluator = open_evaluator(f"train-dense:task=detection,data={data},halving=2")
    fitting_of(evaluator, time_s=440.0)
    assert evaluator.halving == Halving(rungs=(), reduction=2)
    assert "110 steps of the recipe dense" in evaluator.info.detail


def test_a_run_that_goes_on_trains_as_long_as_it_began(tmp_path: Path) -> None:
    data = write_coco(tmp_path / "data", train=16, val=3, test=3)
    name = f"train-dense:task=detection,data={data}"
    assert fitting_of(open_evaluator(name), time_s=50.0, folder=tmp_path).trainings == 0
    assert fitting_of(open_evaluator(name), time_s=440.0, folder=tmp_path).trainings == 4
    again = fitting_of(open_evaluator(name), time_s=10_000.0, folder=tmp_path)
    assert "110 steps takes about 110 s" in again.told
    by_trials = open_evaluator(name)
    assert fitting_of(by_trials, time_s=None, folder=tmp_path) == Fitting(trainings=None)
    assert "110 steps" in by_trials.info.detail


def test_a_length_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    data = write_coco(tmp_path / "data", train=16, val=3, test=3)
    (tmp_path / "length.json").write_text("{}", encoding="utf-8")
    with pytest.raises(EvaluatorError, match=r"length\.json cannot be read"):
        fitting_of(open_evaluator(f"train-dense:task=detection,data={data}"), time_s=50.0, folder=tmp_path)


def test_a_training_ends_where_the_time_does_and_says_so(tmp_path: Path) -> None:
    data = write_coco(tmp_path / "data", train=16, val=3, test=3)
    evaluator = open_evaluator(f"train-dense:task=detection,data={data}")
    fitting_of(evaluator, time_s=1000.0, left_s=1e-6)
    found = evaluator.evaluate(ONE, seed=0, report=no_report)
    assert found.note == f"{ONE.name} was trained for 2 of 150 steps, as the time was over"


def test_a_search_holds_its_time_by_what_a_few_steps_take(tmp_path: Path) -> None:
    told: list[str] = []
    request = detectors_request(tmp_path, Settings(trials=3, time_s=10_000.0), name="timed")
    outcome = run_job(request, on_progress=lambda _: None, on_note=told.append)
    assert outcome.result.front
    assert told[0].startswith("anchors are fitted to the data: head: {kind: ssdlite")
    assert "a training of 2 steps takes about" in told[1]
    assert told[1] in outcome.notes
    assert (outcome.folder / "work" / "length.json").exists()


def test_a_search_without_the_time_for_a_training_is_refused_and_goes_on_with_more(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    data = write_coco(tmp_path / "data", train=16, val=6, test=6)
    (tmp_path / "space.yaml").write_text(SPACE, encoding="utf-8")
    words = ["run", "--space", str(tmp_path / "space.yaml"), "--device", "simulated", "--latency-ms", "50"]
    words += [
        "--data",
        str(data),
        "--accuracy",
        "train-dense:task=detection,epochs=1",
        "--no-confirm",
        "--no-finetune",
    ]
    refused = run(*words, "--time", "0.001s")
    assert refused.code == 2
    assert "there is no time for a single training in 0.001 s: one of 2 steps takes about" in refused.err
    assert "hint: give --time" in refused.err
    found = run(*words, "--time", "10m", "--trials", "1")
    assert found.code == 0
    assert "a training of 2 steps takes about" in found.err
    assert found.err.count("a training of 2 steps takes about") == 1
    assert "ship small-detectors" in found.out
