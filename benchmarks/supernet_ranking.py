"""How well inherited accuracies rank networks whose true accuracies are known, and what a search makes of them.

Run: `python benchmarks/supernet_ranking.py [--seeds 3] [--core-seconds 420] [--networks 100] [-o FILE.json]`

On NAS-Bench-Macro (6,561 networks, each trained three times on CIFAR-10): for every seed a supernet is trained on
one thread at half width and 16 px until the core-seconds are used up. Then

* some networks, drawn by the seed, are evaluated with inherited weights: Spearman of what they are ordered by (the
  loss; see `SupernetEvaluator`) and of their top-1 with their true accuracies;
* a predictor is fitted to what 32 others are ordered by, spread evenly over multiply-adds among 200 drawn ones, as a
  search begins: Spearman of its predictions with the true accuracies of all other networks of the table;
* the search of this package asks for 64 networks in all (its own first design, then what it expects most of) and is
  told what they are ordered by; those that are then on the front are scored by true accuracies: share of the true
  front's hypervolume.

The table and the images come from the shared data folder (`$MNV2SEARCH_SHARED`).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from search_quality_problems import Problem, open_problem, shared_data

from mnv2search.spec.codec import loads
from mnv2search.spec.space import Pick, SearchSpace, canonical

SPACE = """
mnv2search: 1
name: nas-bench-macro
resolution: 32
stem: {c: 32, k: 3, s: 1}
activation: relu
blocks:
  - {c: 64, n: [1, 2], s: 2, each: {t: [1, 3, 6], k: [1, 3, 5], depthwise_activation: [relu, none]}}
  - {c: 128, n: [1, 2, 3], s: 2, each: {t: [1, 3, 6], k: [1, 3, 5], depthwise_activation: [relu, none]}}
  - {c: 256, n: [1, 2, 3], s: 2, each: {t: [1, 3, 6], k: [1, 3, 5], depthwise_activation: [relu, none]}}
last: 1280
head: {classes: 10, dropout: 0.0}
"""
# t, k and the depthwise's activation of the table's three choices; where a stage halves the side, its identity is a
# strided pointwise convolution, which a depthwise of kernel 1 without activation before the projection amounts to.
CHOICES = ((1, 1, "none"), (3, 3, "relu"), (6, 5, "relu"))
STAGES = (2, 3, 3)
PASSES = 3
EPOCHS = 2.0
WARM_STEPS = 40
RATED, DRAWN = 32, 200
ASKED = 64


class Inherited(NamedTuple):
    """Of one network with inherited weights: top-1 and what it is ordered by, both in percent."""

    top1: float
    merit: float


def pick_of(space: SearchSpace, choice: tuple[int, ...]) -> Pick:
    """The network of the table as a pick; identities within a stage are left out, wherever they stand."""
    values: dict[str, Any] = {}
    start = 0
    for row, count in enumerate(STAGES):
        first, *rest = choice[start : start + count]
        kept = [first, *(option for option in rest if option)]
        start += count
        values[f"blocks[{row}].repeats"] = len(kept)
        for repeat, option in enumerate(kept):
            at = f"blocks[{row}].each[{repeat}]."
            names = ("expansion", "kernel", "depthwise_activation")
            values |= {f"{at}{name}": value for name, value in zip(names, CHOICES[option], strict=True)}
    return canonical(space, [a.options.index(values[a.at]) if a.at in values else 0 for a in space.axes])


def trained(
    space: SearchSpace, *, seed: int, core_seconds: float
) -> tuple[Callable[[tuple[int, ...]], Inherited], dict[str, float]]:
    """What gives a network's inherited figures, and what the training took."""
    import torch

    from mnv2search.model.elastic import ElasticNet
    from mnv2search.training.ahead import Feed
    from mnv2search.training.batches import Cutting, training_batches
    from mnv2search.training.fidelity import Fidelity, reduced
    from mnv2search.training.images import read_image_set
    from mnv2search.training.loop import evaluate
    from mnv2search.training.prepared import image_folder, prepare
    from mnv2search.training.recalibrate import recalibrated
    from mnv2search.training.recipe import load_recipe
    from mnv2search.training.sandwich import suited
    from mnv2search.training.supernet import train_supernet

    torch.set_num_threads(1)
    fidelity = Fidelity(0.5, 0.5)
    images = read_image_set(shared_data() / "sets" / "cifar10_jpg.tar.xz", unpack_to=image_folder())
    prepared = prepare(images, side=16, recipe=load_recipe("supernet"), splits=("train", "val"))
    recipe = suited(prepared.recipe, epochs=EPOCHS)
    net = ElasticNet(space, change=lambda spec: reduced(spec, fidelity), seed=seed)
    largest, smallest = pick_of(space, (2,) * 8), pick_of(space, (0,) * 8)

    def drawn(rng: Any) -> list[Pick]:
        free = [tuple(rng.randrange(3) for _ in range(8)) for _ in range(PASSES - 2)]
        return [largest, smallest, *(pick_of(space, choice) for choice in free)]

    def steps(count: int, folder: Path) -> Any:
        return train_supernet(
            net,
            prepared.parts["train"],
            prepared.recipe,
            drawn,
            side=16,
            folder=folder,
            job={},
            seed=seed,
            steps=count,
        )

    with tempfile.TemporaryDirectory() as folder:
        warm = steps(WARM_STEPS, Path(folder) / "pace")  # how many steps the core-seconds are worth
        net = ElasticNet(space, change=lambda spec: reduced(spec, fidelity), seed=seed)
        count = int(core_seconds / (warm.cpu_s / WARM_STEPS))
        done = steps(count, Path(folder) / "whole")
    cutting = Cutting(side=16, normalization=recipe.normalization)
    held_out = prepared.parts["val"]
    learned = replace(cutting, shift_px=recipe.shift_px, least_area=recipe.least_area, mirror=recipe.mirror)
    calibration = next(
        training_batches(prepared.parts["train"], learned, batch=256, seed=seed, epoch=0, feed=Feed(ahead=0))
    ).images

    told: dict[tuple[int, ...], Inherited] = {}

    def inherited(choice: tuple[int, ...]) -> Inherited:
        if choice not in told:
            model = net.member(net.place(pick_of(space, choice)))
            recalibrated(model, [calibration])
            found = evaluate(model, held_out, cutting)
            told[choice] = Inherited(100 * found.top1, 100 * math.exp(-found.loss))
        return told[choice]

    return inherited, {"steps": done.steps, "images": done.images, "core_s": done.cpu_s, "passes": done.passes}


def result_of(task: tuple[int, float, int]) -> dict[str, Any]:
    """All figures of one seed."""
    seed, core_seconds, networks = task
    import optuna
    from scipy.stats import spearmanr

    from mnv2search.study.surrogate import Inputs, Surrogate

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = loads(SPACE)
    assert isinstance(space, SearchSpace)
    problem = open_problem("nbm")
    inherited, effort = trained(space, seed=seed, core_seconds=core_seconds)
    rng = np.random.default_rng(seed)
    every = np.array(np.meshgrid(*[range(3)] * 8, indexing="ij")).reshape(8, -1).T
    true = np.array([problem.evaluate(tuple(row))[0] for row in every.tolist()])
    some = rng.permutation(len(every))[:networks]
    begin = time.process_time()
    told = np.array([inherited(tuple(every[i])) for i in some])
    each_s = (time.process_time() - begin) / networks
    described = problem.describe(every)
    surrogate = Surrogate(cards=problem.cards)
    drawn = rng.permutation(len(every))[:DRAWN]
    rated = drawn[np.argsort(described.cost[drawn])][np.linspace(0, DRAWN - 1, RATED).round().astype(int)]
    merits = np.array([inherited(tuple(every[i])).merit for i in rated])
    surrogate.fit(Inputs(choices=every[rated], features=described.features[rated]), merits)
    rest = np.setdiff1d(np.arange(len(every)), rated)
    predicted = surrogate.predict_mean(Inputs(choices=every[rest], features=described.features[rest]))
    share, asked = searched(problem, inherited, seed=seed)
    return {
        "seed": seed,
        **effort,
        "evaluation_core_s": each_s,
        "spearman_inherited": float(spearmanr(told[:, 1], true[some])[0]),
        "spearman_inherited_top1": float(spearmanr(told[:, 0], true[some])[0]),
        "spearman_predicted": float(spearmanr(predicted, true[rest])[0]),
        "hypervolume_share": share,
        "asked": asked,
    }


def searched(problem: Problem, inherited: Callable[[tuple[int, ...]], Inherited], *, seed: int) -> tuple[float, int]:
    """Share of the true front's hypervolume that the search's own front reaches, and the networks evaluated."""
    from mnv2search.pareto import front
    from mnv2search.study.hybrid import HybridStrategy

    strategy = HybridStrategy(cards=problem.cards, describe=problem.describe, seed=seed, budget=ASKED)
    found: dict[tuple[int, ...], float] = {}
    while len(found) < ASKED:
        choice = strategy.ask()
        found[choice] = inherited(choice).merit
        strategy.tell(choice, found[choice], problem.evaluate(choice)[1])
    members = front(found, maximise=lambda c: found[c], minimise=lambda c: problem.evaluate(c)[1])
    return problem.share(list(members)), len(found)


def main() -> int:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--core-seconds", type=float, default=420.0, help="of training, for each seed")
    parser.add_argument("--networks", type=int, default=100, help="evaluated with inherited weights")
    parser.add_argument("--processes", type=int, default=1, help="seeds at once; more of them slow each other down")
    parser.add_argument("-o", "--output", type=Path, help="write all figures as JSON")
    arguments = parser.parse_args()
    if not (shared_data() / "search_problems.py").exists():
        print(f"no {shared_data()}/search_problems.py; set MNV2SEARCH_SHARED", file=sys.stderr)
        return 2
    tasks = [(seed, arguments.core_seconds, arguments.networks) for seed in range(arguments.seeds)]
    with get_context("spawn").Pool(arguments.processes) as pool:
        results = pool.map(result_of, tasks, chunksize=1)
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
