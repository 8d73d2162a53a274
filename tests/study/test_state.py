"""The incrementally updated state of a search equals the state computed from all evaluations."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from random import Random

import pytest

from mnv2search.accuracy.registry import open_evaluator
from mnv2search.accuracy.types import Accuracy
from mnv2search.cost import cost_of
from mnv2search.evaluation import Budget, Evaluation
from mnv2search.latency.prediction.predictor import REMEMBERED
from mnv2search.latency.registry import open_device
from mnv2search.latency.types import Latency
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.space import Pick, canonical, random_pick, resolve
from mnv2search.spec.yaml.codec import load_space
from mnv2search.study.results import finalists_of, front_of, rank_of
from mnv2search.study.state import SearchState
from mnv2search.study.types import Evaluated, Settings, Storage

SPACE = load_space("mnv2-multipliers")
BUDGET = Budget(latency_ms=10.0)
TIMES_MS = (2.0, 4.0, 4.0, 6.0, 9.0, 12.0)
VALUES = (0.5, 0.6, 0.6, 0.7, 0.75)


def evaluated(random: Random, trial: int, pick: Pick) -> Evaluated:
    """An evaluation with values that are often equal and sometimes missing."""
    spec = replace(resolve(SPACE, pick), name=f"net-{trial}")
    with open_device("simulated") as device:
        ms = random.choice(TIMES_MS)
        latency = Latency(
            median_ms=ms, ci_low_ms=ms, ci_high_ms=ms, p90_ms=ms, samples=3, dropped=0, kind="measured",
            device=device.info, taken_at="2026-01-01T00:00:00+00:00",
        )  # fmt: skip
    value = random.choice(VALUES)
    accuracy = Accuracy(value=value, low=value, high=value, metric="top1", kind="recorded", dataset="none")
    evaluation = Evaluation(
        spec=spec,
        cost=cost_of(spec),
        latency=random.choice([latency, latency, latency, None]),
        accuracy=random.choice([accuracy, accuracy, None]),
        budget=BUDGET,
        seed=0,
        elapsed_s=0.0,
    )
    return Evaluated(trial=trial, stage="search", pick=pick, evaluation=evaluation)


def state_of(items: list[Evaluated]) -> SearchState:
    with open_device("simulated") as device:
        return SearchState(
            SPACE,
            device=device,
            evaluator=open_evaluator("imagenet"),
            budget=BUDGET,
            settings=Settings(trials=1000),
            storage=Storage(previous=items),
        )


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("different", [3, 40])
def test_the_state_agrees_with_its_evaluations(seed: int, different: int) -> None:
    random = Random(seed)
    picks = [canonical(SPACE, random_pick(SPACE, random)) for _ in range(different)]
    items = [evaluated(random, trial, random.choice(picks)) for trial in range(60)]
    state = state_of(items[:20])
    _ = state.front  # from here on only later evaluations are compared with it
    state.keep(items[20])
    _ = state.front
    deque(map(state.keep, items[21:]), maxlen=0)
    known = list(state.networks.values())
    assert state.measured == sum(e.latency is not None for e in known)
    assert state.best == max((e for e in state.rated if e.is_feasible), key=rank_of, default=None)
    assert [(e.latency, rank_of(e)) for e in state.front] == [(e.latency, rank_of(e)) for e in front_of(state.rated)]
    shown = [finalists_of(rated, budget_ms=10.0, of_region=False) for rated in (state.front, state.rated)]
    assert len(shown[0]) == len(shown[1])


def test_the_latency_predictor_learns_from_the_latest_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    random, fitted = Random(0), [list[tuple[ModelSpec, float]]()]
    monkeypatch.setattr(
        "mnv2search.latency.prediction.predictor.LatencyPredictor.fit", lambda _, measured: fitted.append(measured)
    )
    picks = list({canonical(SPACE, random_pick(SPACE, random)): None for _ in range(3 * REMEMBERED)})
    items = [evaluated(random, trial, pick) for trial, pick in enumerate(picks[: 2 * REMEMBERED])]
    state_of(items)
    measured = [item.evaluation for item in items if item.evaluation.latency is not None]
    assert [spec.name for spec, _ in fitted[-1]] == [e.name for e in measured[-REMEMBERED:]]
