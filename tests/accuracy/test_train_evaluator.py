"""Accuracy by training, as an evaluator of a search."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fittings import STEP, fitting_in
from pictures import draw_pictures

from mnv2search.accuracy.evaluator import Evaluator, Halving, Preparation, StopEarly
from mnv2search.accuracy.evaluators import train as module
from mnv2search.accuracy.registry import open_evaluator
from mnv2search.errors import DataError, EvaluatorError, OptionError, TrainingError
from mnv2search.results.records import read_records
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.space import SearchSpace
from mnv2search.spec.yaml.codec import loads
from mnv2search.testing.contracts import EvaluatorContract, network_of
from mnv2search.training.throughput import Timed

Run = Callable[..., Any]
RECIPE = "lr: 0.05\nlr_batch: 8\nbatch: 8\nema: 0.9\n"


@pytest.fixture
def text(tmp_path: Path) -> str:
    (tmp_path / "quick.yaml").write_text(RECIPE)
    return f"train:data={draw_pictures(tmp_path / 'photos')},epochs=2,recipe={tmp_path / 'quick.yaml'}"


class TestTrainEvaluator(EvaluatorContract):
    @pytest.fixture
    def evaluator(self, text: str) -> Evaluator:
        return open_evaluator(text)


def test_it_tells_every_epoch_and_can_be_stopped(text: str) -> None:
    evaluator, told = open_evaluator(text), list[int]()
    evaluator.evaluate(network_of(resolution=32), seed=0, report=lambda epoch, _: told.append(epoch))
    assert told == [1, 2]

    def enough(epoch: int, _: float) -> None:
        raise StopEarly(epoch)

    with pytest.raises(StopEarly):
        evaluator.evaluate(network_of(resolution=32), seed=0, report=enough)


def test_trainings_and_their_timing_take_the_device_that_is_there(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = list[str]()

    def train(*given: Any, **_: Any) -> None:
        used.append(given[-1].device)
        raise TrainingError("no such device")

    def timed(*_: Any, device: str, **__: Any) -> Timed:
        used.append(device)
        return STEP

    monkeypatch.setattr(module, "own_device", lambda: "fake")
    monkeypatch.setattr(module, "train", train)
    monkeypatch.setattr(module, "time_training", timed)
    evaluator = open_evaluator(text)
    with pytest.raises(EvaluatorError, match="no such device"):
        evaluator.evaluate(network_of(resolution=32), seed=0, report=lambda *_: None)
    space = loads(SPACE)
    assert isinstance(space, SearchSpace)
    evaluator.fit(
        Preparation(space=space, band=((0,),), folder=None, time_s=1.0, seed=0, tell=lambda *_: None),
        left_s=lambda: None,
    )
    assert used == ["fake", "fake"]


def test_its_name_opens_it_again(text: str) -> None:
    info = open_evaluator(text).info
    assert open_evaluator(info.name).info == info
    assert info.name == text


@pytest.mark.parametrize(
    ("epochs", "halving", "rungs"),
    [(3, 3, (1,)), (4, 3, (1, 3)), (30, 3, (1, 3, 9, 27)), (8, 2, (1, 2, 4)), (1, 3, ())],
)
def test_rungs_are_powers_below_the_last_epoch(text: str, epochs: int, halving: int, rungs: tuple[int, ...]) -> None:
    evaluator = open_evaluator(text.replace("epochs=2", f"epochs={epochs},halving={halving}"))
    assert evaluator.halving == Halving(rungs=rungs, reduction=halving)


def test_halving_can_be_left_out(text: str) -> None:
    evaluator = open_evaluator(f"{text},halving=0")
    assert evaluator.halving is None
    assert open_evaluator(evaluator.info.name).info == evaluator.info
    with pytest.raises(OptionError, match="halving is 1"):
        open_evaluator(f"{text},halving=1")


def test_mistakes(text: str) -> None:
    with pytest.raises(DataError, match="does not exist"):
        open_evaluator("train:data=nowhere")
    with pytest.raises(OptionError, match="epochs is -1"):
        open_evaluator(text.replace("epochs=2", "epochs=-1"))
    headless = ModelSpec(name="headless", blocks=network_of().blocks, head=None)
    with pytest.raises(EvaluatorError, match="headless is not for classification"):
        open_evaluator(text).evaluate(headless, seed=0, report=lambda *_: None)


def test_a_search_trains_its_candidates(run: Run, text: str, tmp_path: Path) -> None:
    words = ["--space", "tiny32", "--latency-ms", "1", "--device", "simulated", "--trials", "7", "--name", "own"]
    done = run("run", *words, "--accuracy", text, "--json")
    assert done.code == 0, done.err
    front = json.loads(done.out)["front"]
    assert front
    assert all(member["accuracy"]["kind"] == "trained" for member in front)
    records = [r.evaluation for r in read_records(tmp_path / "results" / "own")]
    stopped = [e for e in records if e.is_stopped]
    assert json.loads(done.out)["stopped"] == len(stopped)
    assert all(len(e.curve) == 1 and e.accuracy is None for e in stopped)
    assert {e.spec.name for e in stopped}.isdisjoint(member["name"] for member in front)
    assert any(len(e.curve) == 2 and e.accuracy is not None for e in records)


SPACE = """
mnv2search: 1
name: two
resolution: 32
stem: {c: 8, k: 3, s: 1}
blocks: [{t: [1, 2], c: 8, n: 1, s: 2}]
last: 16
head: {classes: 1000, dropout: 0.0}
"""
fitting_of = partial(fitting_in, SPACE, ((0,), (1,)))


@pytest.mark.parametrize(("step_s", "count"), [(1.0, 2), (30.0, 1)])
def test_where_timing_a_network_takes_long_no_other_is_timed(tmp_path: Path, step_s: float, count: int) -> None:
    space = loads(SPACE)
    assert isinstance(space, SearchSpace)
    evaluator = open_evaluator(f"train:data={draw_pictures(tmp_path / 'some', count=24)}")
    clock, told = [0.0], list[str]()

    def slow(*_: object, **__: object) -> Timed:
        clock[0] += step_s
        return STEP

    asked = Preparation(
        space=space, band=((0,), (1,)), folder=None, time_s=200.0, seed=0, tell=lambda doing, _: told.append(doing)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "time_training", slow)
        patch.setattr(time, "monotonic", lambda: clock[0])
        evaluator.fit(asked, left_s=lambda: None)
    assert told == [f"timing a few steps: network {number + 1} of 2" for number in range(count)]


@pytest.fixture
def many(tmp_path: Path) -> str:
    """Images that make sixty steps an epoch."""
    (tmp_path / "single.yaml").write_text("lr: 0.05\nlr_batch: 8\nbatch: 2\nema: 0.9\n")
    return f"train:data={draw_pictures(tmp_path / 'many', count=94)},recipe={tmp_path / 'single.yaml'}"


def test_trainings_are_as_long_as_the_time_allows(many: str) -> None:
    evaluator = open_evaluator(many)
    assert "3 epochs of the recipe" in evaluator.info.detail
    whole = evaluator.expected_s(network_of(resolution=32))
    assert whole == 0.0  # nothing was timed
    asked = fitting_of(evaluator, time_s=10_000.0)
    steps = int(asked.wanted_s / 4)
    assert steps > 200
    assert (asked.trainings, evaluator.expected_s(network_of(resolution=32))) == (10_000 // steps, steps)
    assert "3 epochs of the recipe" in evaluator.info.detail
    shorter = fitting_of(evaluator, time_s=4.0 * 150)
    assert (shorter.trainings, shorter.least_s) == (4, 100.0)
    assert "150 steps of the recipe" in evaluator.info.detail
    assert f"shortened from {steps} steps" in shorter.told
    assert fitting_of(evaluator, time_s=99.0).trainings == 0


def test_a_length_that_was_asked_for_is_kept(text: str) -> None:
    evaluator = open_evaluator(text)
    found = fitting_of(evaluator, time_s=1.0)
    assert found.trainings == 0
    assert found.least_s == found.wanted_s / 4
    assert "2 epochs of the recipe" in evaluator.info.detail


def test_rungs_follow_the_length_of_the_trainings(many: str) -> None:
    evaluator = open_evaluator(f"{many},halving=2")
    assert evaluator.halving == Halving(rungs=(1, 2), reduction=2)
    fitting_of(evaluator, time_s=400.0)  # 100 steps
    assert evaluator.halving == Halving(rungs=(1,), reduction=2)


def test_a_training_ends_where_the_time_does_and_says_so(many: str, tmp_path: Path) -> None:
    evaluator = open_evaluator(many)
    fitting_of(evaluator, time_s=10_000.0, folder=tmp_path, left_s=1e-6)
    found = evaluator.evaluate(network_of(resolution=32), seed=0, report=lambda *_: None)
    assert "steps, as the time was over" in found.note


def test_without_time_for_one_training_a_run_is_refused_and_leaves_no_folder(
    run: Run, text: str, tmp_path: Path
) -> None:
    words = ["--space", "tiny32", "--latency-ms", "1", "--device", "simulated", "--time", "1s", "--accuracy"]
    done = run("run", *words, text.replace("epochs=2", "epochs=2000"))
    assert done.code == 2
    assert "there is no time for a single training in 1 s" in done.err
    assert "hint: give --time" in done.err
    assert not (tmp_path / "results").exists()


def test_fewer_images_than_a_batch_are_told_before_a_step_is_timed(run: Run, tmp_path: Path) -> None:
    (tmp_path / "large.yaml").write_text("lr: 0.05\nlr_batch: 8\nbatch: 4096\n")
    words = ["--space", "tiny32", "--latency-ms", "1", "--device", "simulated", "--time", "60s", "--accuracy"]
    done = run("run", *words, f"train:data={draw_pictures(tmp_path / 'photos')},recipe={tmp_path / 'large.yaml'}")
    assert done.code == 2
    assert "fewer than a batch of 4096" in done.err
