"""Which networks to measure next."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnv2search.latency.prediction.predictor import most_informative


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 2**20))
def test_nothing_is_chosen_twice_nor_what_is_known(known: int, count: int, seed: int) -> None:
    shares = np.random.default_rng(seed).random((30, 4))
    chosen = most_informative(shares, known=range(known), count=count)
    assert len(chosen) == len(set(chosen)) == min(count, 30 - known)
    assert not set(chosen) & set(range(known))


def test_every_feature_is_covered_before_one_is_repeated() -> None:
    shares = np.repeat(np.eye(5), 4, axis=0)
    chosen = most_informative(shares, known=[], count=5)
    assert sorted(index // 4 for index in chosen) == [0, 1, 2, 3, 4]


def test_what_was_measured_says_something_of_its_like() -> None:
    shares = np.array([[1.0, 0.0], [0.99, 0.01], [0.5, 0.5]])
    assert most_informative(shares, known=[0], count=1) == (2,)


def test_a_feature_that_costs_nothing_tells_nothing() -> None:
    shares = np.array([[1.0, 0.0], [0.0, 5.0]])
    assert most_informative(shares, known=[], count=1, scale=np.array([1.0, 1e-6])) == (0,)


@pytest.mark.parametrize("chosen_by_rule", [True, False], ids=["by the rule", "at random"])
def test_chosen_networks_determine_the_rates_better_than_random_ones(chosen_by_rule: bool) -> None:
    generator = np.random.default_rng(0)
    shares = generator.dirichlet([0.3] * 6, size=200)
    picked = most_informative(shares, known=[], count=12) if chosen_by_rule else range(12)
    smallest = np.linalg.svd(shares[list(picked)], compute_uv=False)[-1]
    assert (smallest > 0.8) == chosen_by_rule
