"""Rank reliability and smoothing of accuracies with shared weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mnv2search.evaluation import Evaluation
from mnv2search.spec.space import Pick
from mnv2search.study.hybrid.candidates import Describe, Description
from mnv2search.study.hybrid.surrogate import FloatArray, IntArray, Surrogate

# With fewer networks, a correlation is meaningless.
FEWEST = 16
FOLDS = 5
# Below this a predictor of inherited accuracies is not trusted. See docs/explanation/shared-weights.md.
LEAST_CORRELATION = 0.6


def held_out_correlation(
    choices: IntArray, described: Description, accuracies: FloatArray, *, cards: tuple[int, ...], seed: int = 0
) -> float | None:
    """Spearman correlation of accuracies (N,) with their cross-validated predictions; None if there are too few.

    `choices` are option indices, (N, D); `cards` the numbers of options.
    """
    count = len(accuracies)
    if count < FEWEST or float(np.ptp(accuracies)) == 0.0:
        return None
    from scipy.stats import spearmanr  # late: half a second

    fold = np.random.default_rng(seed).permutation(count) % FOLDS
    predicted = np.empty(count)
    for number in range(FOLDS):
        learned, told = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        surrogate = Surrogate(cards=cards, warped=False, steady=True)
        surrogate.fit(described.rows(learned).inputs(choices[learned]), accuracies[learned])
        mean = surrogate.predict_mean(described.rows(told).inputs(choices[told]))
        predicted[told] = mean * accuracies[learned].std() + accuracies[learned].mean()
    return float(spearmanr(predicted, accuracies)[0])


def smoothed_values(
    choices: IntArray, described: Description, accuracies: FloatArray, *, cards: tuple[int, ...]
) -> FloatArray:
    """Accuracies (N,) smoothed by a surrogate over choices and counted features.

    A front of noisy values consists of overestimates; smoothing shrinks them towards their neighbours. With 128
    networks of NAS-Bench-Macro and inherited weights, the front reaches 0.972 of the true hypervolume instead of
    0.968.
    """
    surrogate = Surrogate(cards=cards, warped=False, steady=True)
    inputs = described.inputs(choices)
    surrogate.fit(inputs, accuracies)
    found: FloatArray = surrogate.predict_mean(inputs) * accuracies.std() + accuracies.mean()
    return found


def smoothed(known: Mapping[Pick, Evaluation], describe: Describe, *, cards: tuple[int, ...]) -> list[Evaluation]:
    """Networks with an accuracy, in order, with smoothed merits; unchanged if there are too few."""
    rated = {pick: e for pick, e in known.items() if e.accuracy is not None}
    given = [e.accuracy.merit for e in rated.values() if e.accuracy is not None]
    merits = np.array([merit for merit in given if merit is not None])
    if len(merits) < max(FEWEST, len(given)) or len(set(given)) == 1:
        return list(rated.values())
    picks = np.array(list(rated), dtype=np.int64).reshape(len(rated), len(cards))
    values = smoothed_values(picks, describe(picks), merits, cards=cards)
    said = f"the likelihood is smoothed over all {len(rated)} networks found"
    return [
        replace(e, accuracy=replace(e.accuracy, merit=float(value), note=f"{e.accuracy.note}; {said}".lstrip("; ")))
        for e, value in zip(rated.values(), values, strict=True)
        if e.accuracy is not None
    ]


def order_notes(known: Mapping[Pick, Evaluation], describe: Describe, *, cards: tuple[int, ...]) -> tuple[str, ...]:
    """A note on the reliability of the order of evaluated networks."""
    values = {pick: e.accuracy.rank for pick, e in known.items() if e.accuracy is not None}
    picks = np.array(list(values), dtype=np.int64).reshape(len(values), len(cards))
    found = None
    if len(values) >= FEWEST:
        found = held_out_correlation(picks, describe(picks), np.array(list(values.values())), cards=cards)
    if found is None:
        return (f"{len(values)} networks with an accuracy are too few, or too similar, to rate their order",)
    text = (
        "noise of the inherited accuracies: a model of the other networks predicts their order with a rank "
        f"correlation of {found:.2f} (not the agreement with separate trainings)"
    )
    weak = f"; below {LEAST_CORRELATION:g}, so their order is weak evidence" if found < LEAST_CORRELATION else ""
    return (text + weak,)
