"""Whether accuracies of a search can be predicted at all: if not, their order is mostly noise."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.stats import spearmanr

from mnv2search.evaluation import Evaluation
from mnv2search.spec.space import Pick
from mnv2search.study.hybrid_description import Describe, Description
from mnv2search.study.surrogate import FloatArray, IntArray, Surrogate

__all__ = ["FEWEST", "LEAST_CORRELATION", "held_out_correlation", "order_notes"]

# Fewer networks tell nothing of a correlation.
FEWEST = 16
FOLDS = 5
# Below this a predictor of inherited accuracies is not trusted. See docs/accuracy.md, "Your own images".
LEAST_CORRELATION = 0.6


def held_out_correlation(
    choices: IntArray, described: Description, accuracies: FloatArray, *, cards: tuple[int, ...], seed: int = 0
) -> float | None:
    """Spearman of accuracies (N,) with those predicted from the other networks; None where there are too few.

    Args:
        choices: option indices, (N, D).
        described: what is known of these networks without evaluating them.
        accuracies: as they were evaluated.
        cards: options of each dimension.
        seed: of the folds.
    """
    count = len(accuracies)
    if count < FEWEST or float(np.ptp(accuracies)) == 0.0:
        return None
    fold = np.random.default_rng(seed).permutation(count) % FOLDS
    predicted = np.empty(count)
    for number in range(FOLDS):
        learned, told = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        surrogate = Surrogate(cards=cards, warps=False, steady=True)
        surrogate.fit(described.rows(learned).inputs(choices[learned]), accuracies[learned])
        mean = surrogate.predict_mean(described.rows(told).inputs(choices[told]))
        predicted[told] = mean * accuracies[learned].std() + accuracies[learned].mean()
    return float(spearmanr(predicted, accuracies)[0])


def order_notes(known: Mapping[Pick, Evaluation], describe: Describe, *, cards: tuple[int, ...]) -> tuple[str, ...]:
    """What to say of how far the order of evaluated networks can be trusted."""
    values = {pick: e.accuracy.rank for pick, e in known.items() if e.accuracy is not None}
    picks = np.array(list(values), dtype=np.int64).reshape(len(values), len(cards))
    found = None
    if len(values) >= FEWEST:
        found = held_out_correlation(picks, describe(picks), np.array(list(values.values())), cards=cards)
    if found is None:
        return (
            f"{len(values)} networks with an accuracy are too few, or too alike, to say how far their order holds",
        )
    text = f"rank correlation of accuracies with those predicted from the other networks: {found:.2f}"
    weak = f"; below {LEAST_CORRELATION:g}, so their order is weak evidence" if found < LEAST_CORRELATION else ""
    return (text + weak,)
