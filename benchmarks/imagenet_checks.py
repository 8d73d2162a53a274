"""Checks of the ImageNet estimate against what its fits have not seen, and its cost; see `imagenet_estimate.py`."""

from __future__ import annotations

import csv
import gzip
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagenet_fit as f
import numpy as np

from mnv2search.accuracy import estimate
from mnv2search.accuracy.evaluators.imagenet import features_of
from mnv2search.spec.catalog import catalog
from mnv2search.spec.plan import plan


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


def gains_of_the_picked(
    anb: tuple[f.Table, f.Mask], structure: f.Array, factor: float, half: float, among: int = 20, draws: int = 4000
) -> dict[str, float]:
    """What gains are worth for the best of `among` candidates, as a search picks it, over one drawn among them.

    Candidates are fully expanded table networks of about equal multiply-adds, `structure` is held-out.
    """
    table, expanded = anb
    rng, index = np.random.default_rng(0), np.flatnonzero(expanded)
    estimated, true = [], []
    for start in rng.choice(index, draws):
        near = index[np.abs(table.x[index] - table.x[start]) <= 0.1]
        drawn = rng.choice(near, among, replace=False) if len(near) >= among else near
        best, base = drawn[np.argmax(structure[drawn])], drawn[0]
        if len(near) >= among and best != base:
            estimated.append(factor * (structure[best] - structure[base]))
            true.append(table.logit[best] - table.logit[base])
    gains, truth = np.array(estimated), np.array(true)
    sure = gains > half
    return {
        "picked_among": among,
        "picked_draws": len(gains),
        "picked_coverage": float((np.abs(truth - gains) <= half).mean()),
        "picked_below_low": float((truth < gains - half).mean()),
        "picked_low_above_0": float(sure.mean()),
        "of_those_truly_better": float((truth[sure] > 0).mean()),
    }


def parameters_at_equal_madds(anb: f.Table | None, shared: Path) -> dict[str, float]:
    """Why small images are refused: Spearman of parameters and accuracy, mean over deciles of multiply-adds."""
    report = {}
    if anb:
        report["ImageNet, 224 px (Accel-NASBench)"] = within_deciles(anb.madds, anb.structure[:, 0], anb.top1)
    path = shared / "tables" / "nas_bench_macro.csv.gz"
    if path.exists():
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            rows = [[float(row[n]) for n in ("macs", "params", "mean_acc")] for row in csv.DictReader(file)]
        report["CIFAR-10, 32 px (NAS-Bench-Macro)"] = within_deciles(*np.array(rows).T)
    return report


def within_deciles(madds: f.Array, params: f.Array, accuracy: f.Array) -> float:
    """Mean over deciles of multiply-adds of the rank correlation of the other two."""
    decile = np.argsort(np.argsort(madds, kind="stable"), kind="stable") * 10 // len(madds)
    return float(np.mean([f.spearman(params[decile == k], accuracy[decile == k]) for k in range(10)]))


def cpu_us(points: f.Table, networks: int = 20_000) -> dict[str, float]:
    """CPU time of one network in microseconds, best of five: one by one, many at once, and as arrays."""
    numeric = np.c_[points.madds, np.exp(points.structure[:, :3]), points.resolution]
    names = ("madds", "body_params", "activations", "blocks", "resolution")
    one = estimate.Features(**dict(zip(names, numeric[0], strict=True)))
    columns = {name: np.full(networks, value) for name, value in zip(names, numeric[0], strict=True)}
    columns |= {name: np.zeros(networks) for name in ("large_kernel_share", "se_share", "unexpanded_share")}
    several = [one] * networks
    return {
        "estimate": 1e6 * best_cpu_s(lambda: [estimate.estimate(one) for _ in range(1000)]) / 1000,
        "estimate_many of Features": 1e6 * best_cpu_s(lambda: estimate.estimate_many(several)) / networks,
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
