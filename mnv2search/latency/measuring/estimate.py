"""Estimation of a network's latency and its interval from visits on a machine that other work may disturb."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from mnv2search.latency.types import Runs, RunSummary

# The level of a burst is a low quantile of its runs, because other work on the machine can only add time.
LEVEL_QUANTILE = 0.1
# A run counts as preempted if its wall time exceeds its CPU time by this share.
PREEMPTED_SHARE = 0.05
PREEMPTED_NS = 50_000
# The quantile of the levels of several processes: low, because some processes saw no quiet moment; not the minimum,
# because the minimum would continue to fall with every process.
QUIET_PROCESS = 0.25
# Prior of the slope: slow-down of a network per slow-down of the reference, both as logarithms; and the variation of
# the reference that outweighs this prior. Fitted to 300 random networks under changing load; see
# docs/research/2026-11-24-latency-estimators.md.
SYMPATHY = 0.45
SYMPATHY_WEIGHT = 2.0
# Half-width for every unit of slow-down that was subtracted.
SYMPATHY_ERROR = 0.2
# The weight of a visit falls by a factor of e for this slow-down of the reference around it, as a logarithm.
# Weighting brought the spread of 40 processes from 5.6, 9.1 and 10.3 % to 4.6, 5.9 and 7.7 %; see
# docs/research/2026-11-24-latency-estimators.md.
QUIET_SCALE = 0.03
# The share of the visits' weight that is trimmed at either end.
TRIM = 0.2
# Prior of the standard deviation of visits, with the weight of three visits.
PRIOR_SD = 0.03
PRIOR_VISITS = 3
# Minimum half-width from one process, whatever the number of visits: two processes differ by this much.
PROCESS_HALF_WIDTH = 0.022
# Additional half-width in the first process on a device, which cannot know whether the machine was ever quiet; each
# remembered process reduces it.
FIRST_PROCESS_HALF_WIDTH = 0.03
NOISY_SLOWDOWN = 0.25
NOISY_DROPPED = 0.5
NOISY_HALF_WIDTH = 0.06


class Visit(NamedTuple):
    """One burst of a network between two bursts of the reference.

    `level_ms` is the low quantile of the runs, and `reference_ms` the mean of the low quantiles of the reference
    before and after. `dropped` counts the preempted runs that were discarded, `preempted` all preempted runs.
    """

    level_ms: float
    median_ms: float
    p90_ms: float
    reference_ms: float
    samples: int
    dropped: int
    preempted: int


class Estimate(NamedTuple):
    """A latency without its device: see `mnv2search.latency.types.Latency`.

    Attributes:
        half_width: relative half-width of the 95 % interval.
        scatter: part of the half-width that more visits can reduce.
    """

    median_ms: float
    half_width: float
    scatter: float
    p90_ms: float
    samples: int
    dropped: int
    noisy: bool

    @property
    def ci_low_ms(self) -> float:
        """Lower end of the interval."""
        return self.median_ms * (1 - self.half_width)

    @property
    def ci_high_ms(self) -> float:
        """Upper end of the interval."""
        return self.median_ms * (1 + self.half_width)


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


def level_ms(runs: Runs, *, by_cpu: bool) -> float:
    """The low quantile of a burst, by CPU time or by wall time."""
    if isinstance(runs, RunSummary):
        return runs.low_ms
    return quantile([(cpu if by_cpu else wall) / 1e6 for wall, cpu in runs], LEVEL_QUANTILE)


def visit_of(runs: Runs, reference_ms: float, *, by_cpu: bool) -> Visit:
    """The statistics of a burst of at least one run, with the level of the reference around it.

    With `by_cpu`, the runs used one thread, so that their CPU time is used and shows which runs were preempted. If
    fewer than three runs were undisturbed, the CPU time of all runs is used.
    """
    if isinstance(runs, RunSummary):
        return Visit(runs.low_ms, runs.median_ms, runs.p90_ms, reference_ms, runs.count, dropped=0, preempted=0)
    if by_cpu:
        undisturbed = [cpu / 1e6 for wall, cpu in runs if wall <= cpu * (1 + PREEMPTED_SHARE) + PREEMPTED_NS]
        preempted = len(runs) - len(undisturbed)
        times = undisturbed if len(undisturbed) >= 3 else [cpu / 1e6 for _, cpu in runs]
    else:
        times, preempted = [wall / 1e6 for wall, _ in runs], 0
    return Visit(
        level_ms=quantile(times, LEVEL_QUANTILE),
        median_ms=quantile(times, 0.5),
        p90_ms=quantile(times, 0.9),
        reference_ms=reference_ms,
        samples=len(times),
        dropped=len(runs) - len(times),
        preempted=preempted,
    )


def reference_level_ms(here: Sequence[float], earlier: Sequence[float] = ()) -> float:
    """The level of the reference on an undisturbed machine, from its levels in this process, one per burst.

    `earlier` are the results of this function in earlier processes.
    """
    return quantile([*earlier, quantile(here, LEVEL_QUANTILE)], QUIET_PROCESS)


def estimate(visits: Sequence[Visit], undisturbed_ms: float, *, earlier: int = 0) -> Estimate:
    """The latency on an undisturbed machine.

    Part of the reference's slow-down is subtracted from each visit, in logarithms: by the slope of these visits,
    shrunk towards the prior slope. The level is the trimmed mean of the results, in which a quiet visit has more
    weight than a disturbed one. The median of an inference is this level times the median-to-level ratio of an
    undisturbed burst, which is a low quantile of the bursts' ratios.

    `undisturbed_ms` comes from `reference_level_ms`; `earlier` is the number of earlier processes it is based on.
    """
    slowdowns = [math.log(v.reference_ms / undisturbed_ms) for v in visits]
    seen = [math.log(v.level_ms) for v in visits]
    slope = _slope(slowdowns, seen)
    levels = [y - slope * s for y, s in zip(seen, slowdowns, strict=True)]
    weights = [math.exp(-max(s, 0.0) / QUIET_SCALE) for s in slowdowns]
    disturbance = fmean(map(abs, slowdowns), weights)
    level = math.exp(_trimmed_mean(levels, weights))
    scatter = math.hypot(_sampling_half_width(levels, weights), SYMPATHY_ERROR * disturbance)
    samples, dropped = sum(v.samples for v in visits), sum(v.dropped for v in visits)
    return Estimate(
        median_ms=level * quantile([v.median_ms / v.level_ms for v in visits], 0.05),
        half_width=math.hypot(scatter, PROCESS_HALF_WIDTH, FIRST_PROCESS_HALF_WIDTH / (1 + earlier)),
        scatter=scatter,
        p90_ms=level * quantile([v.p90_ms / v.level_ms for v in visits], 0.5),
        samples=samples,
        dropped=dropped,
        noisy=disturbance > NOISY_SLOWDOWN
        or sum(v.preempted for v in visits) > NOISY_DROPPED * (samples + dropped)
        or scatter > NOISY_HALF_WIDTH,
    )


def _slope(slowdowns: Sequence[float], seen: Sequence[float]) -> float:
    """The share of the reference's slow-down in these visits, from 0 to 1."""
    mean_x, mean_y = fmean(slowdowns), fmean(seen)
    together = sum((x - mean_x) * (y - mean_y) for x, y in zip(slowdowns, seen, strict=True))
    alone = sum((x - mean_x) ** 2 for x in slowdowns)
    return min(max((together + SYMPATHY_WEIGHT * SYMPATHY) / (alone + SYMPATHY_WEIGHT), 0.0), 1.0)


def _sampling_half_width(levels: Sequence[float], weights: Sequence[float]) -> float:
    """Half of the 95 % interval of a weighted mean over visits, with the prior of their scatter."""
    total = sum(weights)
    # Kish's effective sample size: the number of visits of equal weight with the same information.
    count = total**2 / sum(w**2 for w in weights)
    mean = fmean(levels, weights)
    squares = count * fmean([(y - mean) ** 2 for y in levels], weights)
    variance = (squares + PRIOR_VISITS * PRIOR_SD**2) / (count + PRIOR_VISITS)
    freedom = count + PRIOR_VISITS - 1
    # Student's quantile, to within 1 % from three degrees of freedom on.
    student = 1.96 + 2.4 / freedom + 3.2 / freedom**2
    return student * math.sqrt(variance / count)


def _trimmed_mean(values: Sequence[float], weights: Sequence[float]) -> float:
    """The weighted mean of the values, with a share `TRIM` of the weight trimmed at either end."""
    low, high = TRIM * sum(weights), (1 - TRIM) * sum(weights)
    below = kept = total = 0.0
    for value, weight in sorted(zip(values, weights, strict=True)):
        inside = max(0.0, min(below + weight, high) - max(below, low))
        total += inside * value
        kept += inside
        below += weight
    return total / kept
