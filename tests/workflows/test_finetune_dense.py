"""A search of detectors whose best networks are trained on."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from clocks import CountingClock
from run_requests import detectors_request

from mnv2search.accuracy.evaluators.train import TrainEvaluator
from mnv2search.errors import EvaluatorError, OptionError, RecordError
from mnv2search.evaluation import Budget, Evaluation
from mnv2search.model.weights.network_file import read_learned, read_network
from mnv2search.report.training import finetuned_lines, finetuned_rows
from mnv2search.results.finetuning import FINETUNE, Finetuned, finetuned_json, measured_of, recall_finetuned
from mnv2search.spec.yaml.codec import load_spec
from mnv2search.study.deadline import Deadline
from mnv2search.study.types import Settings
from mnv2search.workflows.search import run
from mnv2search.workflows.search.finetuning import time_shares
from mnv2search.workflows.search.finetuning.finetune import finetune
from mnv2search.workflows.search.finetuning.plan import Finetuning, candidates_of
from mnv2search.workflows.search.finetuning.time_shares import TimeShares
from mnv2search.workflows.search.run import Outcome, Request, resume_request
from mnv2search.workflows.search.run import run as run_job
from mnv2search.workflows.search.shipping import train_best

# Seconds for trainings, by a clock that advances whenever it is read.
LEFT_S = 30.0

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def request_of_run(tmp_path_factory: pytest.TempPathFactory) -> Request:
    settings = Settings(trials=3, time_s=10_000.0)  # enough on the busiest machine
    request = detectors_request(tmp_path_factory.mktemp("runs"), settings, finetunes=True)
    return replace(request, budget=Budget(latency_ms=2.0))  # within which some network of the MobileNetV2 grid is


@pytest.fixture(scope="module")
def outcome(request_of_run: Request) -> Outcome:
    clock = CountingClock(0.1)

    def begun_late(*arguments: Any, deadline: Deadline, **options: Any) -> Any:
        assert deadline.left_s is not None
        clock.now_s += deadline.left_s - LEFT_S
        return train_best(*arguments, deadline=deadline, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time_shares, "AFTER_TRAININGS", TimeShares(search=0.997, longest=0.001))
        patch.setattr(run, "train_best", begun_late)
        return run_job(request_of_run, on_progress=lambda _: None, clock=clock)


def trained_on(candidates: Sequence[Evaluation], evaluator: TrainEvaluator, **options: Any) -> Finetuned:
    task, data = evaluator.task, evaluator.dataset
    usual: dict[str, Any] = {"task": task, "data": data, "evaluator": evaluator, "best_s": 0.0, "seed": 0}
    found = finetune(Finetuning(candidates=candidates, **(usual | options)))
    assert found is not None
    return found


@pytest.fixture
def evaluator(request_of_run: Request, outcome: Outcome) -> TrainEvaluator:
    found = TrainEvaluator(task="detection", data=str(request_of_run.root / "data"), epochs=1)
    found.keep_weights(outcome.folder / "work")
    return found


def test_the_best_are_trained_on_and_the_best_of_them_is_shipped(outcome: Outcome) -> None:
    found, folder = outcome.finetuned, outcome.folder
    assert found is not None
    shipped = found.networks[found.best].spec
    assert found.steps[found.best] == max(found.steps)
    assert found.obvious
    assert set(found.obvious) <= {e.spec.name for e in outcome.result.rivals}
    assert read_network(folder / "ship.pt").spec == shipped == load_spec(str(folder / "ship.yaml"))
    assert (folder / "ship.pt").read_bytes() == found.weights.read_bytes()
    learned = read_learned(folder / "ship.pt")
    assert learned is not None
    assert learned.classes == ("red", "green")
    assert {read_network(folder / "front" / f"{e.spec.name}.pt").spec for e in found.front} == {
        e.spec for e in found.front
    }


def test_all_take_as_many_steps_in_a_round_unless_they_say_otherwise(outcome: Outcome) -> None:
    found = outcome.finetuned
    assert found is not None
    (rung, *_) = json.loads((outcome.folder / FINETUNE / "finetune.json").read_text())["rungs"]
    steps = [
        torch.load(outcome.folder / FINETUNE / name / "round-1" / "last.ckpt", weights_only=True)["step"]
        for name in rung["networks"]
    ]
    short = [note for note in found.notes if "ended after" in note]
    assert sum(one != rung["steps"] for one in steps) <= len(short)
    assert found.images == 8 * found.steps[found.best]


def test_figures_have_their_metric_and_are_recalled(outcome: Outcome, run: Callable[..., Any]) -> None:
    found = outcome.finetuned
    assert found is not None
    told = finetuned_json(found)
    assert told["metric"] == "map"
    assert "top1" not in told["test"]
    assert told["test"]["low"] <= told["test"]["map"] <= told["test"]["high"]
    assert set(told["test"]["details"]) >= {"ap50", "red", "green"}
    assert recall_finetuned(outcome.folder / FINETUNE, measured_of(outcome.result)) == found
    assert finetuned_rows(found).columns[1].title.startswith("trained mAP [90 % interval]")
    lines = "\n".join(finetuned_lines(found, folder=outcome.folder))
    assert "trained mAP" in lines
    assert "AP at IoU 0.5 " in lines
    shown = run("front", str(outcome.folder))
    assert "trained separately" in shown.out
    assert f"ship {found.networks[found.best].spec.name}" in shown.out
    assert "trained mAP" in (outcome.folder / "report.html").read_text(encoding="utf-8")


def test_a_run_that_is_finished_is_shown_with_its_trainings(request_of_run: Request, outcome: Outcome) -> None:
    assert resume_request(outcome.folder, trusts=True).finetunes
    again = run_job(request_of_run, on_progress=lambda _: None)
    assert again.already_finished
    assert again.finetuned == outcome.finetuned


def test_a_network_that_a_training_makes_no_better_keeps_its_weights(
    outcome: Outcome, evaluator: TrainEvaluator, tmp_path: Path
) -> None:
    (candidate,) = candidates_of(outcome.result.front, count=1)
    assert candidate.accuracy is not None
    perfect = replace(candidate, accuracy=replace(candidate.accuracy, value=1.0, high=1.0))
    found = trained_on([perfect], evaluator, folder=tmp_path, time_s=9.0, clock=CountingClock(0.1))
    assert found.held_out[0].main.value == 1.0
    assert "not improved by its last" in found.notes[-1]
    assert found.weights.read_bytes() == evaluator.trained_weights(candidate.spec).read_bytes()


def test_what_cannot_be_trained_on_is_told(
    outcome: Outcome, evaluator: TrainEvaluator, tmp_path: Path, request_of_run: Request
) -> None:
    with pytest.raises(RecordError, match="no network to train"):
        trained_on((), evaluator, folder=tmp_path, time_s=1.0)
    evaluator.keep_weights(tmp_path)
    with pytest.raises(EvaluatorError, match=r"the weights of .* are gone"):
        evaluator.trained_weights(outcome.result.front[0].spec)
    (tmp_path / "finetune.json").write_text("[]", encoding="utf-8")
    with pytest.raises(RecordError, match=r"finetune\.json cannot be read"):
        trained_on(outcome.result.front, evaluator, folder=tmp_path, time_s=1.0)
    with pytest.raises(OptionError, match="needs a time limit"):
        run_job(replace(request_of_run, settings=Settings(trials=3), name="other"), on_progress=lambda _: None)
