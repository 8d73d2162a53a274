"""The Gaussian process finds what a sum of features leaves over, and nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest

from mnv2search.latency.prediction.predictor import LEAST, Kernel, Residual

GENERATOR = np.random.default_rng(0)
INPUTS = GENERATOR.uniform(0, 0.5, (200, 6))
SMOOTH = 0.2 * INPUTS[:, 0] * INPUTS[:, 1] - 0.3 * INPUTS[:, 2] ** 2


def test_a_smooth_function_is_predicted_where_it_was_not_seen() -> None:
    fitted = Residual(INPUTS[:150], SMOOTH[:150])
    missed = fitted.predict(INPUTS[150:]) - SMOOTH[150:]
    assert np.abs(missed).mean() < 0.1 * np.abs(SMOOTH[150:]).mean()


def test_the_errors_are_those_of_fits_without_the_observation() -> None:
    fitted = Residual(INPUTS[:LEAST], SMOOTH[:LEAST])
    without = Residual(INPUTS[1:LEAST], SMOOTH[1:LEAST], known=Kernel(*fitted.kernel[:2], LEAST - 1))
    # without one of them the inputs spread a little differently
    missed = SMOOTH[0] - without.predict(INPUTS[:1])[0]
    assert fitted.errors[0] == pytest.approx(missed, rel=0.05, abs=1e-4)


def test_noise_is_not_learned() -> None:
    noise = GENERATOR.normal(0, 0.02, len(INPUTS))
    fitted = Residual(INPUTS, noise)
    assert np.sqrt(np.mean(fitted.predict(INPUTS) ** 2)) < 0.015
    assert np.sqrt(np.mean(fitted.errors**2)) < 0.024


def test_far_from_everything_nothing_is_added() -> None:
    assert Residual(INPUTS, SMOOTH + 1).predict(INPUTS[:1] + 100) == pytest.approx(0)


def test_a_kernel_is_kept_until_there_is_much_more_to_learn_from() -> None:
    first = Residual(INPUTS[:100], SMOOTH[:100]).kernel
    assert Residual(INPUTS[:105], SMOOTH[:105], known=first).kernel == first
    assert Residual(INPUTS[:150], SMOOTH[:150], known=first).kernel.found_at == 150
    assert Residual(INPUTS[:50], SMOOTH[:50], known=first).kernel.found_at == 50
