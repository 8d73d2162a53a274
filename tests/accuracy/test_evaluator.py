"""The hooks of an evaluator, and plug-ins that know none of them."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import numpy as np
import pytest

from mnv2search import plugins
from mnv2search.accuracy.evaluator import (
    AccuracyEvaluator,
    Evaluator,
    Fitting,
    Halving,
    Preparation,
    Report,
    as_evaluator,
)
from mnv2search.accuracy.registry import open_evaluator
from mnv2search.accuracy.types import Accuracy, EvaluatorInfo
from mnv2search.errors import EvaluatorError
from mnv2search.evaluation import no_report
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import plan
from mnv2search.spec.yaml.codec import load_space, load_spec
from mnv2search.testing.contracts import EvaluatorContract


class Minimal:
    """A plug-in that offers what the protocol asks for, and derives from nothing of ours."""

    info = EvaluatorInfo(name="minimal", version="1", kind="reported", dataset="none", metric="top1")

    def evaluate(self, spec: ModelSpec, *, seed: int, report: Report) -> Accuracy:
        return Accuracy(value=0.5, low=0.5, high=0.5, metric="top1", kind="reported", dataset="none")


class WithHooks(Minimal):
    """A plug-in with some of the hooks."""

    halving = Halving(rungs=(1,), reduction=3)

    def prepare(self, preparation: Preparation) -> tuple[str, ...]:
        return ("prepared",)

    def expected_s(self, spec: ModelSpec) -> float:
        return 3.0


def preparation() -> Preparation:
    space = load_space("mnv2")
    return Preparation(space=space, band=(), folder=None, time_s=None, seed=0, tell=lambda _, __: None)


def test_hooks_do_nothing_by_default(tmp_path: Path) -> None:
    evaluator, spec = as_evaluator(Minimal()), load_spec("mobilenet_v2")
    assert (evaluator.method, evaluator.is_timed, evaluator.can_finetune) == ("training", False, False)
    assert evaluator.prepare(preparation()) == ()
    assert evaluator.fit(preparation(), left_s=lambda: None) == Fitting(trainings=None)
    assert (evaluator.expected_s(spec), evaluator.halving, evaluator.weights_file(spec)) == (0.0, None, None)
    assert (evaluator.dataset, evaluator.recipe, evaluator.learned_of(spec)) == (None, None, None)
    assert evaluator.is_full_size()
    np.testing.assert_array_equal(evaluator.lower_bounds([plan(spec)] * 2), [0.0, 0.0])
    evaluator.check_space(load_space("mnv2"))
    evaluator.keep_weights(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_weights_that_were_never_kept_are_an_error() -> None:
    evaluator, spec = as_evaluator(Minimal()), load_spec("mobilenet_v2")
    with pytest.raises(EvaluatorError, match="no shared weights for mobilenet_v2"):
        evaluator.member(spec)
    with pytest.raises(EvaluatorError, match="the weights of mobilenet_v2 are gone"):
        evaluator.trained_weights(spec)


def test_hooks_of_a_plug_in_that_derives_from_nothing_are_used() -> None:
    evaluator = as_evaluator(WithHooks())
    assert evaluator.method == "shared weights"
    assert evaluator.prepare(preparation()) == ("prepared",)
    assert evaluator.expected_s(load_spec("mobilenet_v2")) == 3.0
    assert evaluator.halving == Halving(rungs=(1,), reduction=3)


def test_an_evaluator_that_derives_from_the_base_is_not_wrapped() -> None:
    evaluator = open_evaluator("imagenet")
    assert as_evaluator(evaluator) is evaluator
    assert evaluator.method == "arithmetic"


def test_a_plug_in_of_the_entry_points_is_opened_and_keeps_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint(name="minimal", value=f"{__name__}:Minimal", group="mnv2search.evaluators")
    monkeypatch.setattr(plugins, "entry_points", lambda group: EntryPoints([entry]).select(group=group))
    evaluator = open_evaluator("minimal")
    assert isinstance(evaluator, Evaluator)
    assert evaluator.info.name == "minimal"
    assert evaluator.evaluate(load_spec("mobilenet_v2"), seed=0, report=no_report).value == 0.5


class TestMinimal(EvaluatorContract):
    @pytest.fixture
    def evaluator(self) -> AccuracyEvaluator:
        return Minimal()
