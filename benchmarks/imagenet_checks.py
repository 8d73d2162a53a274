"""Cross-validation of the ImageNet estimate on held-out data; see `imagenet_estimate.py`."""

from __future__ import annotations

import csv
import gzip
import itertools
import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagenet_fit as f
import numpy as np
from numpy.typing import NDArray

from mnv2search.accuracy import estimate
from mnv2search.accuracy.estimate import TERMS, Z_90
from mnv2search.accuracy.evaluators.imagenet import features_of
from mnv2search.spec.catalog import catalog
from mnv2search.spec.plan import plan

Texts = NDArray[np.str_]

# Smaller differences count as equal. Source: spread of one network over recipes and seeds.
POINT_APART = 0.005
EQUAL = {"within 5 %": math.log(1.05), "within 15 %": math.log(1.15)}
KINDS = ("one resolution", "different resolution")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Pairs of results of one group, estimated with part of the data held out.

    Attributes:
        first, second: rows of the table.
        true: published difference in logits.
        estimated: estimated difference in logits.
        posterior: variance of the estimated difference from the posterior alone.
        deltas: differences of the columns.
    """

    first: f.Array
    second: f.Array
    true: f.Array
    estimated: f.Array
    posterior: f.Array
    deltas: f.Array

    def variance(self, spread: f.Spread, *, slopes: float, noise: float) -> f.Array:
        """True minus estimated difference."""
        between = f.between_variances(spread, slopes=slopes)
        return np.asarray(self.posterior + self.deltas**2 @ between + 2 * noise**2)


def left_out(evidence: f.Evidence, spread: f.Spread, by: Texts) -> dict[str, f.Posterior]:
    """Posteriors with each value of `by` held out in turn."""
    return {str(value): f.posterior(evidence.without(by == value), spread) for value in np.unique(by)}


def levels_left_out(evidence: f.Evidence, spread: f.Spread, by: Texts) -> tuple[f.Array, f.Array]:
    """Each result's logit estimated with its value of `by` held out, and the standard deviation of the estimate."""
    table = evidence.table
    logits, sds = np.empty(len(table.top1)), np.empty(len(table.top1))
    for value, made in left_out(evidence, spread, by).items():
        held = by == value
        rows = table.columns[held]
        logits[held] = rows @ made.mean
        sds[held] = np.sqrt(made.variance(rows) + spread.recipe**2 + spread.group**2 + spread.noise**2)
    return logits, sds


def pairs_left_out(evidence: f.Evidence, spread: f.Spread, by: Texts) -> Pairs:
    """All pairs within groups, estimated with the group's value of `by` held out."""
    table = evidence.table
    made = left_out(evidence, spread, by)
    found: list[tuple[int, int, float, float]] = []
    deltas = []
    for group in np.unique(table.groups):
        for i, j in itertools.combinations(np.flatnonzero(table.groups == group), 2):
            delta = table.columns[i] - table.columns[j]
            fit = made[str(by[i])]
            found.append((int(i), int(j), float(delta @ fit.mean), float(delta @ fit.covariance @ delta)))
            deltas.append(delta)
    first, second, estimated, posterior = (np.array(column) for column in zip(*found, strict=True))
    true = table.logit[first.astype(int)] - table.logit[second.astype(int)]
    return Pairs(
        first=first.astype(int),
        second=second.astype(int),
        true=true,
        estimated=estimated,
        posterior=posterior,
        deltas=np.array(deltas),
    )


def kinds_of(table: f.Table, pairs: Pairs) -> dict[str, f.Mask]:
    """Masks of the pairs with one resolution, with different ones, and with different ones at equal cost."""
    alike = table.resolution[pairs.first] == table.resolution[pairs.second]
    near = np.abs(table.x[pairs.first] - table.x[pairs.second]) <= EQUAL["within 15 %"]
    return {KINDS[0]: alike, KINDS[1]: ~alike, f"{KINDS[1]}, equal cost": ~alike & near}


def coverage(table: f.Table, pairs: Pairs, spread: f.Spread, *, slopes: float, noise: float) -> dict[str, float]:
    """The share of pairs inside their 90 % interval, by kind."""
    inside = np.abs(pairs.true - pairs.estimated) <= Z_90 * np.sqrt(
        pairs.variance(spread, slopes=slopes, noise=noise)
    )
    return {name: float(inside[mask].mean()) for name, mask in kinds_of(table, pairs).items()}


def calibrated(table: f.Table, pairs: Pairs, spread: f.Spread) -> tuple[float, float]:
    """The share of the slopes' variance, and the noise, with which intervals of left-out pairs hold 90 to 93 %.

    Groups disagree, such as on the best resolution: a fifth of that variance counts in any case.
    """

    def miss(slopes: float, noise: float) -> float:
        found = coverage(table, pairs, spread, slopes=slopes, noise=noise)
        *all_pairs, at_equal_cost = found.values()
        return sum((value - 0.915) ** 2 for value in all_pairs) + 0.2 * (at_equal_cost - 0.9) ** 2

    grid = itertools.product(np.linspace(0.2, 1.0, 17), np.linspace(0.8, 1.6, 17) * spread.noise)
    return min(((float(s), float(n)) for s, n in grid), key=lambda found: miss(*found))


def order(table: f.Table, pairs: Pairs) -> dict[str, dict[str, int]]:
    """Numbers of pairs at equal multiply-adds that the estimate orders correctly, by kind and tolerance."""
    apart = np.abs(table.top1[pairs.first] - table.top1[pairs.second])
    right = pairs.true * pairs.estimated > 0
    report = {}
    for (name, most), (kind, mask) in itertools.product(EQUAL.items(), list(kinds_of(table, pairs).items())[:2]):
        near = mask & (np.abs(table.x[pairs.first] - table.x[pairs.second]) <= most)
        clear = near & (apart > POINT_APART)
        report[f"{kind}, {name}"] = {
            "pairs": int((near & (apart > 0)).sum()),
            "right": int((near & (apart > 0) & right).sum()),
            "clear": int(clear.sum()),
            "clear_right": int((clear & right).sum()),
        }
    return report


def order_across_recipes(evidence: f.Evidence, spread: f.Spread) -> dict[str, int]:
    """Reference networks of any recipes within 15 % of multiply-adds, both architectures left out of the fit."""
    table = evidence.table
    made: dict[tuple[str, str], f.Posterior] = {}
    counts = {"decidable": 0, "right": 0, "right_knowing_recipes": 0, "right_by_params": 0, "right_by_madds": 0}
    index = np.flatnonzero(table.reference)
    p_of: f.Array = table.columns.T[TERMS.index("p")]
    for i, j in itertools.combinations(index, 2):
        same = table.madds[i] == table.madds[j] and np.array_equal(table.columns[i, :12], table.columns[j, :12])
        ratio = max(table.madds[i] / table.madds[j], table.madds[j] / table.madds[i])
        if ratio > 1.15 or abs(table.top1[i] - table.top1[j]) <= POINT_APART or same:
            continue
        both = (str(table.architectures[i]), str(table.architectures[j]))
        key = (min(both), max(both))
        if key not in made:
            held = (table.architectures == key[0]) | (table.architectures == key[1])
            made[key] = f.posterior(evidence.without(held), spread)
        delta, mean, ship = table.columns[i] - table.columns[j], made[key].mean, len(TERMS)
        true = table.logit[i] - table.logit[j]
        counts["decidable"] += 1
        counts["right"] += bool((delta[:ship] @ mean[:ship]) * true > 0)
        counts["right_knowing_recipes"] += bool((delta @ mean) * true > 0)
        counts["right_by_params"] += bool((p_of[i] - p_of[j] + table.x[i] - table.x[j]) * true > 0)
        counts["right_by_madds"] += bool((table.x[i] - table.x[j]) * true > 0)
    return counts


def winners(
    made: f.Posterior,
    networks: f.RandomNetworks,
    rows: f.Mask,
    *,
    among: int,
    slopes: float,
    noise: float,
    draws: int = 3000,
) -> dict[str, float]:
    """Estimated and true gain, in points, of the best of `among` random networks of about equal cost.

    The best is chosen as in a search, by the lower end of its gain. Gains are relative to a random one of the
    networks.
    """
    rng = np.random.default_rng(0)
    columns = networks.columns[rows].copy()
    columns[:, f.SHARED :] = 0.0  # what is known of the table alone is no part of an estimate
    logit, x = networks.logit[rows], networks.x[rows]
    value = columns @ made.mean
    said, true, inside = [], [], []
    for start in rng.integers(0, len(x), draws):
        near = np.flatnonzero(np.abs(x - x[start]) <= EQUAL["within 5 %"])
        near = near if len(near) >= among else np.argsort(np.abs(x - x[start]))[:among]
        drawn = rng.choice(near, among, replace=False)
        base = drawn[0]
        sd = np.sqrt(made.variance(columns[drawn] - columns[base], slopes=slopes))
        best = drawn[int(np.argmax(value[drawn] - Z_90 * sd))]
        if best == base:
            continue
        half = Z_90 * math.sqrt(
            float(made.variance(columns[[best]] - columns[[base]], slopes=slopes)[0]) + 2 * noise**2
        )
        gain, worth = value[best] - value[base], logit[best] - logit[base]
        said.append(gain)
        true.append(worth)
        inside.append(abs(gain - worth) <= half)
    at = math.log(3)  # a baseline of 75 %
    points = [100 * (f.share(at + np.array(gains)) - 0.75) for gains in (said, true)]
    return {
        "said_points": float(points[0].mean()),
        "true_points": float(points[1].mean()),
        "difference_points": float(points[0].mean() - points[1].mean()),
        "coverage": float(np.mean(inside)),
        "draws": len(said),
    }


def winners_of_groups(table: f.Table, pairs: Pairs, spread: f.Spread, *, slopes: float, among: float = 1.25) -> Any:
    """The same within published groups left out: the best of those of about equal cost over each of the others."""
    sd = np.sqrt(pairs.variance(spread, slopes=slopes, noise=0.0))
    known: dict[tuple[int, int], tuple[float, float]] = {}
    for i, j, estimated, s in zip(pairs.first, pairs.second, pairs.estimated, sd, strict=True):
        known[i, j], known[j, i] = (float(estimated), float(s)), (-float(estimated), float(s))
    said, true = defaultdict(list), defaultdict(list)
    for base in range(len(table.top1)):
        pool = [
            k for k in range(len(table.top1)) if (k, base) in known and table.madds[k] <= table.madds[base] * among
        ]
        pool = [k for k in pool if table.madds[k] * among >= table.madds[base]]
        if len(pool) < 2:
            continue
        best = max(pool, key=lambda k: known[k, base][0] - Z_90 * known[k, base][1])
        at = table.logit[base]
        said[str(table.groups[base])].append(100 * float(f.share(at + known[best, base][0]) - f.share(at)))
        true[str(table.groups[base])].append(100 * float(table.top1[best] - table.top1[base]))
    gaps = [np.mean(said[g]) - np.mean(true[g]) for g in said]
    every = [np.mean([v for g in found.values() for v in g]) for found in (said, true)]
    return {
        "groups": len(gaps),
        "picks": sum(len(v) for v in said.values()),
        "said_points": float(every[0]),
        "true_points": float(every[1]),
        "difference_points": float(every[0] - every[1]),
        "mean_absolute_group_difference_points": float(np.mean(np.abs(gaps))),
    }


def supernet_gains(path: Path) -> dict[str, float]:
    """Named networks of two supernets, 192 to 288 px, that no fit has seen: error of the gain over the smallest.

    Their structure is not stated, so they count as typical of their cost.
    """
    c = estimate.coefficients()
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["use"] == "out" and "supernet weights" in row["note"]]
    report: dict[str, float] = {}
    for group in sorted({row["group"] for row in rows}):
        own = [row for row in rows if row["group"] == group]
        terms = np.array([_typical_row(row, c) for row in own])
        top1 = np.array([float(row["top1"]) / 100 for row in own])
        logit = np.log(top1 / (1 - top1))
        gains = f.share(logit[0] + (terms - terms[0]) @ np.array(c.mean)) - top1[0]
        report[f"{group}: mean error of {len(own) - 1} gains, points"] = float(
            100 * np.abs(gains - (top1 - top1[0]))[1:].mean()
        )
    return report


def _typical_row(row: Mapping[str, str], c: estimate.Coefficients) -> list[float]:
    x, side = math.log(float(row["madds"]) / 3e8), math.log(float(row["resolution"]) / 224)
    cost = -math.expm1(-c.curvature * x) / c.curvature
    return [1.0, cost, side, side * side, side * x, *[0.0] * (len(TERMS) - 5)]


def unseen_networks() -> list[dict[str, Any]]:
    """Networks of the catalogue whose families or trainings no table here has, features counted from their specs."""
    rows: list[dict[str, Any]] = []
    for entry in catalog():
        for figures in entry.published:
            unseen = entry.family == "ProxylessNAS" or (entry.family == "MnasNet" and "torchvision" in figures.source)
            if unseen and figures.top1 is not None and entry.name not in {row["name"] for row in rows}:
                found = estimate.estimate(features_of(plan(entry.spec)))
                row = {"name": entry.name, "published": figures.top1, "estimated": found.value, "note": found.note}
                rows.append(row | {"inside": found.low <= figures.top1 <= found.high})
    return rows


def parameters_at_equal_madds(networks: f.RandomNetworks | None, shared: Path) -> dict[str, float]:
    """Why small images are refused: Spearman of parameters and accuracy, mean over deciles of multiply-adds."""
    report = {}
    if networks:
        features = networks.features
        report["ImageNet, 224 px (Accel-NASBench)"] = within_deciles(
            features["madds"], features["body_params"], networks.logit
        )
    path = shared / "tables" / "nas_bench_macro.csv.gz"
    if path.exists():
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            rows = [[float(row[n]) for n in ("macs", "params", "mean_acc")] for row in csv.DictReader(file)]
        report["CIFAR-10, 32 px (NAS-Bench-Macro)"] = within_deciles(*np.array(rows).T)
    return report


def within_deciles(madds: f.Array, params: f.Array, accuracy: f.Array) -> float:
    """Mean over deciles of multiply-adds of the rank correlation of the other two."""
    decile = np.argsort(np.argsort(madds, kind="stable"), kind="stable") * 10 // len(madds)
    return float(np.mean([spearman(params[decile == k], accuracy[decile == k]) for k in range(10)]))


def spearman(one: f.Array, other: f.Array) -> float:
    """Rank correlation; ties get their mean rank."""
    from scipy.stats import spearmanr

    return float(spearmanr(one, other).statistic)


def cpu_us(networks: int = 20_000) -> dict[str, float]:
    """CPU time of one network in microseconds, best of five: one by one, many at once, and as arrays."""
    one = estimate.Features(madds=3e8, body_params=2.2e6, blocks=17, resolution=224)
    columns = {name: np.full(networks, float(getattr(one, name))) for name in estimate.NUMERIC}
    several: Sequence[estimate.Features] = [one] * networks
    return {
        "estimate": 1e6 * best_cpu_s(lambda: [estimate.estimate(one) for _ in range(1000)]) / 1000,
        "ranking_bound_many of Features": 1e6 * best_cpu_s(lambda: estimate.ranking_bound_many(several)) / networks,
        "ranking_bound_many of arrays": 1e6 * best_cpu_s(lambda: estimate.ranking_bound_many(columns)) / networks,
        "estimate_many of arrays": 1e6 * best_cpu_s(lambda: estimate.estimate_many(columns)) / networks,
    }


def best_cpu_s(run: Callable[[], object], repeats: int = 5) -> float:
    """The least CPU time of some runs in seconds."""
    taken = []
    for _ in range(repeats):
        started = time.process_time()
        run()
        taken.append(time.process_time() - started)
    return min(taken)
