"""Accuracy by training, as an evaluator of a search."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pictures import draw_pictures

from mnv2search.accuracy.registry import open_evaluator
from mnv2search.accuracy.types import AccuracyEvaluator, CanHalve, Halving, StopEarly
from mnv2search.errors import DataError, EvaluatorError, OptionError
from mnv2search.records import read_records
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.testing.contracts import EvaluatorContract, network_of

Run = Callable[..., Any]
RECIPE = "lr: 0.05\nlr_batch: 8\nbatch: 8\nema: 0.9\n"


@pytest.fixture
def text(tmp_path: Path) -> str:
    (tmp_path / "quick.yaml").write_text(RECIPE)
    return f"train:data={draw_pictures(tmp_path / 'photos')},epochs=2,recipe={tmp_path / 'quick.yaml'}"


class TestTrainEvaluator(EvaluatorContract):
    @pytest.fixture
    def evaluator(self, text: str) -> AccuracyEvaluator:
        return open_evaluator(text)


def test_it_tells_every_epoch_and_can_be_stopped(text: str) -> None:
    evaluator, told = open_evaluator(text), list[int]()
    evaluator.evaluate(network_of(resolution=32), seed=0, report=lambda epoch, _: told.append(epoch))
    assert told == [1, 2]

    def enough(epoch: int, _: float) -> None:
        raise StopEarly(epoch)

    with pytest.raises(StopEarly):
        evaluator.evaluate(network_of(resolution=32), seed=0, report=enough)


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
    assert isinstance(evaluator, CanHalve)
    assert evaluator.halving == Halving(rungs=rungs, reduction=halving)


def test_halving_can_be_left_out(text: str) -> None:
    evaluator = open_evaluator(f"{text},halving=0")
    assert isinstance(evaluator, CanHalve)
    assert evaluator.halving is None
    assert open_evaluator(evaluator.info.name).info == evaluator.info
    with pytest.raises(OptionError, match="halving is 1"):
        open_evaluator(f"{text},halving=1")


def test_mistakes(text: str) -> None:
    with pytest.raises(DataError, match="is no folder of images"):
        open_evaluator("train:data=nowhere")
    with pytest.raises(OptionError, match="epochs is 0"):
        open_evaluator(text.replace("epochs=2", "epochs=0"))
    headless = ModelSpec(name="headless", blocks=network_of().blocks, head=None)
    with pytest.raises(EvaluatorError, match="headless has no classifier"):
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
