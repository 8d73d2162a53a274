"""How training-free scores rank networks whose true accuracies are known: NAS-Bench-Macro, CIFAR-10.

Of its 6,561 networks the 1,944 whose stages begin with a block of the family are built from specs; parameters and
multiply-adds must be those of the table. The table is looked for as `search_quality_problems.shared_data` says.

    python benchmarks/proxy_scores.py --networks 150
"""

from __future__ import annotations

import argparse
import csv
import gzip
import random
import time
from itertools import pairwise

import numpy as np
from scipy.stats import spearmanr
from search_quality_problems import shared_data

from mnv2search.accuracy.scores import SCORES, WARNING
from mnv2search.cost import cost_of
from mnv2search.results.scores import COUNTED
from mnv2search.spec.model_spec import BlockSpec, Classifier, ModelSpec, Stem
from mnv2search.spec.plan import plan
from mnv2search.study.candidates import FEATURES, features_of

CHANNELS = (64, 64, 128, 128, 128, 256, 256, 256)
FIRST = (0, 2, 5)
# digit -> expansion and kernel; 0 is the identity, which a stage cannot begin with here
BLOCKS = {"1": (3, 3), "2": (6, 5)}
QUINTILES = 5


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--networks", type=int, default=150)
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    with gzip.open(shared_data() / "tables" / "nas_bench_macro.csv.gz", "rt") as file:
        table = [row for row in csv.DictReader(file) if all(row["arch"][place] != "0" for place in FIRST)]
    rows = random.Random(given.seed).sample(table, given.networks)
    specs = [spec_of(row["arch"]) for row in rows]
    for row, spec in zip(rows, specs, strict=True):
        cost = cost_of(spec)
        assert (cost.params, cost.madds) == (int(row["params"]), int(row["macs"])), row["arch"]
    truth = np.array([float(row["mean_acc"]) for row in rows])
    madds = np.array([float(row["macs"]) for row in rows])
    features = np.array([features_of(plan(spec)) for spec in specs])
    print(f"{len(specs)} of {len(table)} networks, seed {given.seed}; Spearman with the mean of three trainings")
    print(f"{'':16} {'all':>6} {'in quintiles of multiply-adds':>30} {'core-s each':>12}")
    for name, feature in zip(COUNTED, ("log_blocks", "log_madds", "log_body_params"), strict=True):
        values = features[:, FEATURES.index(feature)]
        print(f"{name:16} {spearmanr(values, truth).statistic:6.2f} {within(values, truth, madds):30.2f}")
    for name, score in SCORES.items():
        begin = time.process_time()
        values = np.array([score(spec, given.seed) for spec in specs])
        seconds = (time.process_time() - begin) / len(specs)
        whole = spearmanr(values, truth).statistic
        print(f"{name:16} {whole:6.2f} {within(values, truth, madds):30.2f} {seconds:12.2f}")
    print(WARNING)


def spec_of(arch: str) -> ModelSpec:
    """The network of eight digits."""
    blocks = [
        BlockSpec(channels=c, expansion=BLOCKS[op][0], kernel=BLOCKS[op][1], stride=2 if place in FIRST else 1)
        for place, (op, c) in enumerate(zip(arch, CHANNELS, strict=True))
        if op in BLOCKS
    ]
    stem, head = Stem(channels=32, stride=1), Classifier(classes=10)
    return ModelSpec(name=f"nbm-{arch}", blocks=tuple(blocks), resolution=32, stem=stem, head=head)


def within(values: np.ndarray, truth: np.ndarray, madds: np.ndarray) -> float:
    """Mean Spearman inside fifths of the networks by multiply-adds."""
    order = np.argsort(madds, kind="stable")
    edges = np.linspace(0, len(order), QUINTILES + 1).astype(int)
    return float(np.mean([spearmanr(values[order[a:b]], truth[order[a:b]]).statistic for a, b in pairwise(edges)]))


if __name__ == "__main__":
    main()
