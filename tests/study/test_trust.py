"""Accuracies that follow from the networks are told from noise."""

from __future__ import annotations

import numpy as np
import pytest

from mnv2search.study.hybrid_description import Description
from mnv2search.study.trust import FEWEST, LEAST_CORRELATION, held_out_correlation


def correlation_of(noise: float, count: int = 40) -> float | None:
    rng = np.random.default_rng(3)
    choices = rng.integers(0, 3, (count, 6))
    features = np.stack([choices.sum(1), (choices == 2).sum(1)], axis=1).astype(float)
    accuracies = 0.5 + 0.02 * choices.sum(1) + noise * rng.standard_normal(count)
    described = Description(cost=1.0 + features[:, 0], features=features)
    return held_out_correlation(choices, described, accuracies, cards=(3,) * 6)


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
    described = Description(cost=np.ones(30), features=np.zeros((30, 1)))
    assert held_out_correlation(choices, described, np.full(30, 0.5), cards=(1, 1)) is None
