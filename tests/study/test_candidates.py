"""What is said of networks before they are measured."""

from __future__ import annotations

from collections import Counter
from random import Random

import numpy as np
import pytest

from mnv2search.accuracy.registry import open_evaluator
from mnv2search.cost import cost_of
from mnv2search.evaluation import Budget
from mnv2search.latency.prediction.predictor import LatencyPredictor
from mnv2search.latency.registry import open_device
from mnv2search.latency.runtimes.simulated import simulated_ms
from mnv2search.spec.plan import plan
from mnv2search.spec.space import Pick, canonical, random_pick, resolve
from mnv2search.spec.yaml.codec import load_space
from mnv2search.study import candidates as candidates_module
from mnv2search.study.baseline import baseline_grid
from mnv2search.study.candidates import Candidates

BUDGET_MS = 6.0


@pytest.fixture(scope="module")
def candidates() -> Candidates:
    space = load_space("mnv2")
    with open_device("simulated") as device:
        predictor = LatencyPredictor(device.info)
    predictor.fit([(spec, simulated_ms(plan(spec))) for spec in baseline_grid(space)])
    return Candidates(
        space, budget=Budget(latency_ms=BUDGET_MS), evaluator=open_evaluator("imagenet"), predictor=predictor
    )


@pytest.fixture(scope="module")
def picks(candidates: Candidates) -> list[Pick]:
    random = Random(0)
    return sorted({canonical(candidates.space, random_pick(candidates.space, random)) for _ in range(1500)})


def test_a_band_is_like_all_that_fits(candidates: Candidates, picks: list[Pick]) -> None:
    whole, some = candidates.band(picks, count=len(picks)), candidates.band(picks, count=150)
    assert len(set(some)) == len(some) == 150 < len(whole) < len(picks)
    assert set(some) <= set(whole)
    for axis in ("width", "resolution"):
        place = next(i for i, one in enumerate(candidates.space.axes) if one.at == axis)
        wanted, found = Counter(pick[place] for pick in whole), Counter(pick[place] for pick in some)
        for option, count in wanted.items():
            assert abs(found[option] / 150 - count / len(whole)) < 0.08, (axis, option)


def test_a_band_is_in_order_of_multiply_adds(candidates: Candidates, picks: list[Pick]) -> None:
    madds = [cost_of(resolve(candidates.space, pick)).madds for pick in candidates.band(picks, count=50)]
    assert madds == sorted(madds)


def test_where_hardly_anything_fits_the_nearest_are_the_band(candidates: Candidates, picks: list[Pick]) -> None:
    slow = Candidates(
        candidates.space,
        budget=Budget(latency_ms=0.01),
        evaluator=open_evaluator("imagenet"),
        predictor=candidates._predictor,
    )
    band = slow.band(picks, count=1000)
    assert len(band) == 50
    near, far = (slow.describe(np.array(part)).cost for part in (band, sorted(set(picks) - set(band))))
    assert near.max() <= far.min()


def test_what_is_forgotten_is_worked_out_again(picks: list[Pick], monkeypatch: pytest.MonkeyPatch) -> None:
    space, budget = load_space("mnv2"), Budget(latency_ms=BUDGET_MS)
    with open_device("simulated") as device:
        predictor = LatencyPredictor(device.info)
    evaluator = open_evaluator("imagenet")
    whole = Candidates(space, budget=budget, evaluator=evaluator, predictor=predictor)
    few = Candidates(space, budget=budget, evaluator=evaluator, predictor=predictor)
    monkeypatch.setattr(candidates_module, "REMEMBERED", 50)
    parts = [np.array(picks[begin : begin + 40]) for begin in (0, 20, 60, 0)]
    found = [few.describe(part) for part in parts]
    wanted = whole.describe(np.concatenate(parts))
    assert np.array_equal(np.concatenate([part.cost for part in found]), wanted.cost)
    assert np.array_equal(np.concatenate([part.features for part in found]), wanted.features)
