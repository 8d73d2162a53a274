"""From visits to a latency: which part of what was timed is the network's own, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Estimate", "Visit", "estimate", "quantile", "reference_level_ms", "visit_of"]

# The level of a burst is a low quantile of its runs: other work on the machine only ever adds.
LEVEL_QUANTILE = 0.1
# A preempted run: the wall clock went on for this much longer than the CPU clock.
PREEMPTED_SHARE = 0.05
PREEMPTED_NS = 50_000
# What a network slows down by where the reference slows down by 1 (both as logarithms), and how far networks differ
# in that. Measured over MobileNetV2 and 100 random networks under changing load; see docs/measuring.md.
SYMPATHY = 0.15
SYMPATHY_SD = 0.2
# The sampling error of the low quantile is this many gaps to the quantile GAP_QUANTILE over the root of the visits;
# what is known of gaps in general is worth three visits.
GAP_QUANTILE = 0.4
GAP_ERRORS = 2.0
PRIOR_GAP = 0.04
PRIOR_VISITS = 3
# Half-width that no number of visits in one process gets under: two processes differ by so much.
PROCESS_HALF_WIDTH = 0.01
NOISY_SLOWDOWN = 0.18
NOISY_DROPPED = 0.5
NOISY_HALF_WIDTH = 0.06


class Visit(NamedTuple):
    """One burst of a network between two bursts of the reference.

    Attributes:
        level_ms: low quantile of the runs.
        median_ms: of the runs.
        p90_ms: of the runs.
        reference_ms: the low quantile of the reference, mean of before and after.
        samples: runs that were used.
        dropped: runs that were preempted.
    """

    level_ms: float
    median_ms: float
    p90_ms: float
    reference_ms: float
    samples: int
    dropped: int


class Estimate(NamedTuple):
    """A latency without its device: see `mnv2search.latency.types.Latency`."""

    median_ms: float
    half_width: float
    p90_ms: float
    samples: int
    dropped: int
    noisy: bool


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie, interpolated.

    >>> quantile([3.0, 1.0, 2.0], 0.25)
    1.5
    """
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def visit_of(runs: Sequence[tuple[int, int]], reference_ms: float, *, by_cpu: bool) -> Visit:
    """A visit from the (wall, CPU) times of its runs in ns.

    Args:
        runs: of the network; at least one.
        reference_ms: level of the reference around it.
        by_cpu: the runs used one thread, so that CPU time tells preempted runs and is what counts. Where fewer
            than three runs went undisturbed, the CPU time of all of them is taken.
    """
    if by_cpu:
        kept = [cpu / 1e6 for wall, cpu in runs if wall <= cpu * (1 + PREEMPTED_SHARE) + PREEMPTED_NS]
        dropped = len(runs) - len(kept)
        times = kept if len(kept) >= 3 else [cpu / 1e6 for _, cpu in runs]
    else:
        times, dropped = [wall / 1e6 for wall, _ in runs], 0
    return Visit(
        level_ms=quantile(times, LEVEL_QUANTILE),
        median_ms=quantile(times, 0.5),
        p90_ms=quantile(times, 0.9),
        reference_ms=reference_ms,
        samples=len(runs) - dropped,
        dropped=dropped,
    )


def reference_level_ms(here: Sequence[float], earlier: Sequence[float] = ()) -> float:
    """The level of the reference on an undisturbed machine.

    Args:
        here: its levels in this process, one a burst; at least one.
        earlier: what this function said of earlier processes.
    """
    now = quantile(here, LEVEL_QUANTILE)
    return quantile([*earlier, now], LEVEL_QUANTILE) if earlier else now


def estimate(visits: Sequence[Visit], undisturbed_ms: float) -> Estimate:
    """The latency that the visits speak for, had the machine been undisturbed.

    Disturbance only ever adds, so what counts is the low end of the visits, after part of the reference's own
    slow-down has been taken off each. The median of an inference is that level times the lower quartile of the
    bursts' ratios of median to level, which is what a burst shows that was left alone.

    Args:
        visits: of one network; at least one.
        undisturbed_ms: from `reference_level_ms`.
    """
    slowdowns = [max(math.log(v.reference_ms / undisturbed_ms), 0.0) for v in visits]
    levels = [math.log(v.level_ms) - SYMPATHY * s for v, s in zip(visits, slowdowns, strict=True)]
    low, above = quantile(levels, LEVEL_QUANTILE), quantile(levels, GAP_QUANTILE)
    count = len(visits)
    gap = (count * (above - low) + PRIOR_VISITS * PRIOR_GAP) / (count + PRIOR_VISITS)
    # The disturbance that the visits at the low end still carry.
    carried = quantile([s for s, level in zip(slowdowns, levels, strict=True) if level <= above], 0.25)
    half_width = math.hypot(GAP_ERRORS * gap / math.sqrt(count), PROCESS_HALF_WIDTH, 2 * SYMPATHY_SD * carried)
    samples, dropped = sum(v.samples for v in visits), sum(v.dropped for v in visits)
    return Estimate(
        median_ms=math.exp(low) * quantile([v.median_ms / v.level_ms for v in visits], 0.25),
        half_width=half_width,
        p90_ms=math.exp(low) * quantile([v.p90_ms / v.level_ms for v in visits], 0.5),
        samples=samples,
        dropped=dropped,
        noisy=carried > NOISY_SLOWDOWN
        or dropped > NOISY_DROPPED * (samples + dropped)
        or half_width > NOISY_HALF_WIDTH,
    )
