"""Accuracies that follow from the networks are told from noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mnv2search.accuracy.types import Accuracy
from mnv2search.cost import cost_of
from mnv2search.evaluation import Budget, Evaluation, completed
from mnv2search.spec.space import Pick
from mnv2search.spec.yaml.codec import load_spec
from mnv2search.study.hybrid.candidates import Description
from mnv2search.study.hybrid.surrogate import IntArray
from mnv2search.study.supernet_reliability import (
    FEWEST,
    LEAST_CORRELATION,
    held_out_correlation,
    smoothed,
    smoothed_values,
)

CARDS = (3,) * 6


def described(choices: IntArray) -> Description:
    features = np.stack([choices.sum(1), (choices == 2).sum(1)], axis=1).astype(float)
    return Description(cost=1.0 + features[:, 0], features=features)


def correlation_of(noise: float, count: int = 40) -> float | None:
    rng = np.random.default_rng(3)
    choices = rng.integers(0, 3, (count, 6))
    accuracies = 0.5 + 0.02 * choices.sum(1) + noise * rng.standard_normal(count)
    return held_out_correlation(choices, described(choices), accuracies, cards=CARDS)


def test_accuracies_that_follow_from_the_networks_are_trusted() -> None:
    found = correlation_of(0.002)
    assert found is not None
    assert found > 0.9


def test_noise_is_not_trusted() -> None:
    found = correlation_of(10.0)
    assert found is not None
    assert found < LEAST_CORRELATION


@pytest.mark.parametrize("count", [2, FEWEST - 1])
def test_few_networks_tell_nothing(count: int) -> None:
    assert correlation_of(0.0, count) is None


def test_equal_accuracies_tell_nothing() -> None:
    choices = np.zeros((30, 2), dtype=np.int64)
    alike = Description(cost=np.ones(30), features=np.zeros((30, 1)))
    assert held_out_correlation(choices, alike, np.full(30, 0.5), cards=(1, 1)) is None


def test_smoothing_takes_noise_away() -> None:
    rng = np.random.default_rng(5)
    choices = rng.integers(0, 3, (60, 6))
    true = 0.5 + 0.02 * choices.sum(1)
    noisy = true + 0.02 * rng.standard_normal(60)
    smooth = smoothed_values(choices, described(choices), noisy, cards=CARDS)
    assert np.abs(smooth - true).mean() < 0.7 * np.abs(noisy - true).mean()
    assert smooth.mean() == pytest.approx(noisy.mean(), abs=0.01)


def known_of(count: int, *, merits: bool = True) -> dict[Pick, Evaluation]:
    """Networks of noisy merits, and one whose accuracy is not known."""
    rng = np.random.default_rng(7)
    spec = load_spec("mobilenet_v2_0.35_96")
    blank = completed(spec, cost=cost_of(spec), latency=None, budget=Budget(latency_ms=10.0), seed=0)
    known: dict[Pick, Evaluation] = {(2,) * 6: blank}
    while len(known) <= count:
        pick = tuple(int(one) for one in rng.integers(0, 3, 6))
        merit = 0.3 + 0.01 * sum(pick) + 0.02 * float(rng.standard_normal())
        accuracy = Accuracy(
            value=0.5,
            low=0.4,
            high=0.6,
            metric="top1",
            kind="inherited",
            dataset="mine",
            merit=merit if merits else None,
        )
        known[pick] = replace(blank, spec=replace(spec, name=f"n{len(known)}"), accuracy=accuracy)
    return known


def test_merits_are_smoothed_and_nothing_else() -> None:
    known = known_of(40)
    found = smoothed(known, described, cards=CARDS)
    rated = [e for e in known.values() if e.accuracy is not None]
    assert [e.spec for e in found] == [e.spec for e in rated]
    assert any(e.accuracy != r.accuracy for e, r in zip(found, rated, strict=True))
    for e, r in zip(found, rated, strict=True):
        assert e.accuracy is not None
        assert r.accuracy is not None
        assert replace(e, accuracy=replace(e.accuracy, merit=r.accuracy.merit, note="")) == r
        assert "smoothed over all 40 networks" in e.accuracy.note


@pytest.mark.parametrize(("count", "merits"), [(FEWEST - 1, True), (40, False)])
def test_what_cannot_be_smoothed_stays_as_it_is(count: int, merits: bool) -> None:
    known = known_of(count, merits=merits)
    assert smoothed(known, described, cards=CARDS) == [e for e in known.values() if e.accuracy is not None]
