"""How well inherited accuracies rank networks whose true accuracies are known, and what a search makes of them.

Run: `python benchmarks/supernet_ranking.py [--seeds 3] [--core-seconds 420] [--networks 100]
    [--keep FOLDER] [-o FILE.json]`

On NAS-Bench-Macro (6,561 networks, each trained three times on CIFAR-10): for every seed a supernet is trained on
one thread at half width and 16 px until the core-seconds are used up. Then

* some networks, drawn by the seed, are evaluated with inherited weights: Spearman of what they are ordered by (the
  loss; see `SupernetEvaluator`) and of their top-1 with their true accuracies;
* a predictor is fitted to what 32 others are ordered by, spread evenly over multiply-adds among 200 drawn ones, as a
  search begins: Spearman of its predictions with the true accuracies of all other networks of the table, as it is
  fitted to judge the order that a search found (steady) and as the search itself fits it;
* the search of this package asks for 128 networks in all (its own first design, then what it expects most of) and is
  told what they are ordered by; those that are then on the front, by smoothed figures as at the end of a search, are
  scored by true accuracies: share of the true front's hypervolume.

With `--keep` the weights and all figures of networks stay in a folder, and the next run begins with them: only
networks that it is the first to ask for are evaluated.

The table and the images come from the shared data folder (`$MNV2SEARCH_SHARED`).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from search_quality_problems import Problem, open_problem, shared_data
from supernet_ranking_nets import Choice, Inherited, opened

RATED, DRAWN = 32, 200
ASKED = 128


def result_of(seed: int, *, core_seconds: float, networks: int, keep: Path | None) -> dict[str, Any]:
    """All figures of one seed."""
    import optuna
    from scipy.stats import spearmanr

    from mnv2search.study.hybrid.surrogate import Inputs, Surrogate

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    problem = open_problem("nbm")
    nets = opened(seed=seed, core_seconds=core_seconds, keep=keep)
    rng = np.random.default_rng(seed)
    every = np.array(np.meshgrid(*[range(3)] * 8, indexing="ij")).reshape(8, -1).T
    true = np.array([problem.evaluate(tuple(row))[0] for row in every.tolist()])
    some = rng.permutation(len(every))[:networks]
    told = np.array([nets.inherited(tuple(row)) for row in every[some].tolist()])
    described = problem.describe(every)
    drawn = rng.permutation(len(every))[:DRAWN]
    rated = drawn[np.argsort(described.cost[drawn])][np.linspace(0, DRAWN - 1, RATED).round().astype(int)]
    merits = np.array([nets.inherited(tuple(row)).merit for row in every[rated].tolist()])
    rest = np.setdiff1d(np.arange(len(every)), rated)
    predicted = {}
    for steady in (True, False):
        surrogate = Surrogate(cards=problem.cards, steady=steady)
        surrogate.fit(Inputs(choices=every[rated], features=described.features[rated]), merits)
        predicted[steady] = surrogate.predict_mean(Inputs(choices=every[rest], features=described.features[rest]))
    share, asked = searched(problem, nets.inherited, seed=seed)
    return {
        "seed": seed,
        **nets.effort,
        "evaluation_core_s": float(told[:, 2].mean()),
        "spearman_inherited": float(spearmanr(told[:, 1], true[some])[0]),
        "spearman_inherited_top1": float(spearmanr(told[:, 0], true[some])[0]),
        "spearman_predicted": float(spearmanr(predicted[True], true[rest])[0]),
        "spearman_predicted_in_search": float(spearmanr(predicted[False], true[rest])[0]),
        "hypervolume_share": share,
        "asked": asked,
    }


def searched(problem: Problem, inherited: Callable[[Choice], Inherited], *, seed: int) -> tuple[float, int]:
    """Share of the true front's hypervolume that the search's own front reaches, and the networks evaluated."""
    from mnv2search.pareto import front
    from mnv2search.study.hybrid.strategy import HybridStrategy
    from mnv2search.study.supernet_reliability import smoothed_values

    strategy = HybridStrategy(cards=problem.cards, describe=problem.describe, seed=seed, budget=ASKED)
    found: dict[Choice, float] = {}
    while len(found) < ASKED:
        choice = strategy.ask()
        found[choice] = inherited(choice).merit
        strategy.tell(choice, found[choice], problem.evaluate(choice)[1])
    choices = np.array(list(found))
    values = smoothed_values(choices, problem.describe(choices), np.array(list(found.values())), cards=problem.cards)
    smooth = dict(zip(found, values.tolist(), strict=True))
    members = front(found, maximise=lambda c: smooth[c], minimise=lambda c: problem.evaluate(c)[1])
    return problem.share(list(members)), len(found)


def main() -> int:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--core-seconds", type=float, default=420.0, help="of training, for each seed")
    parser.add_argument("--networks", type=int, default=100, help="evaluated with inherited weights")
    parser.add_argument("--processes", type=int, default=1, help="seeds at once; more of them slow each other down")
    parser.add_argument("--keep", type=Path, help="folder for weights and figures, taken up again where it has them")
    parser.add_argument("-o", "--output", type=Path, help="write all figures as JSON")
    arguments = parser.parse_args()
    if not (shared_data() / "search_problems.py").exists():
        print(f"no {shared_data()}/search_problems.py; set MNV2SEARCH_SHARED", file=sys.stderr)
        return 2
    of_seed = partial(
        result_of, core_seconds=arguments.core_seconds, networks=arguments.networks, keep=arguments.keep
    )
    with get_context("spawn").Pool(arguments.processes) as pool:
        results = pool.map(of_seed, range(arguments.seeds), chunksize=1)
    print("| seed | images | core-s | inherited | predictor from 32 | hypervolume share |\n|---|---|---|---|---|---|")
    for row in results:
        print(
            f"| {row['seed']} | {row['images']:,} | {row['core_s']:.0f} | {row['spearman_inherited']:.3f} "
            f"| {row['spearman_predicted']:.3f} | {row['hypervolume_share']:.3f} |"
        )
    for key in (
        "spearman_inherited",
        "spearman_inherited_top1",
        "spearman_predicted",
        "spearman_predicted_in_search",
        "hypervolume_share",
        "evaluation_core_s",
    ):
        values = [row[key] for row in results]
        print(f"{key}: mean {np.mean(values):.3f}, least {min(values):.3f}, most {max(values):.3f}")
    if arguments.output:
        arguments.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
