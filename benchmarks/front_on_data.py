"""Networks that a search on images finds, against the MobileNetV2 grid, at equal latency and equal training.

Run: `python benchmarks/front_on_data.py --data cifar10.tar.xz --space benchmarks/spaces/tiny32_sides.yaml
--latency-ms 0.32 0.44 0.62 --time 300 [--epochs 1] [--seeds 3] [--recipe short] [--device onnxruntime]
[--weights FILE --weights-spec NAME] [-o FILE.json]`

For every seed one search under the largest budget, with shared weights, in the time given. Then for every budget
the network of its front with the highest inherited accuracy among those that fit (by the upper end of the
interval), and of the MobileNetV2 width x resolution grid measured in the same run the two that come nearest to the
budget, are measured again side by side and trained by the same recipe for as many epochs, all from random weights
or all from the same published ones. The better of the two grid networks on held-out images counts; the first seed
finds it, the others train it alone. Figures are of the test images. Costs are processor time: of the search, and of
training the grid within the largest budget once, as its multiply-adds say it would take at the rate of the grid
networks that were trained.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mnv2search.accuracy.evaluators.supernet import SupernetEvaluator
from mnv2search.cost import cost_of
from mnv2search.evaluation import Budget, Evaluation
from mnv2search.jobs.search import search
from mnv2search.jobs.train import train_spec
from mnv2search.latency.registry import open_device
from mnv2search.latency.timing import Measurer
from mnv2search.spec.classes import space_with_classes
from mnv2search.spec.codec import load_space, load_spec
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.study.types import Listener, SearchResult
from mnv2search.training.recipe import load_recipe

RIVALS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One network trained from random weights.

    Attributes:
        held_out: top-1 on images that chose the weights.
        test: top-1 on the others.
        cpu_s: of the training.
    """

    name: str
    latency_ms: float
    madds: int
    held_out: float
    test: float
    cpu_s: float


def spent_s() -> float:
    """Processor time of this process and of those that it waited for."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def trained(evaluation: Evaluation, arguments: argparse.Namespace, *, seed: int) -> Training:
    """The network after training."""
    assert evaluation.latency is not None
    begin = spent_s()
    with tempfile.TemporaryDirectory() as folder:
        found = train_spec(
            evaluation.spec,
            data=arguments.data,
            folder=Path(folder) / "it",
            recipe=load_recipe(arguments.recipe),
            epochs=arguments.epochs,
            seed=seed,
            weights=arguments.weights,
            weights_spec=load_spec(arguments.weights_spec) if arguments.weights_spec else None,
        )
    return Training(
        name=evaluation.spec.name,
        latency_ms=evaluation.latency.median_ms,
        madds=cost_of(found.spec).madds,
        held_out=found.trained.best.top1,
        test=found.test.top1,
        cpu_s=spent_s() - begin,
    )


def fitting(evaluations: Sequence[Evaluation], budget_ms: float) -> list[Evaluation]:
    """Those that fit by the upper end of their interval, slowest first."""
    found = [e for e in evaluations if e.latency is not None and e.latency.ci_high_ms <= budget_ms]
    return sorted(found, key=lambda e: -(e.latency.median_ms if e.latency else 0.0))


def searched(arguments: argparse.Namespace, seed: int) -> tuple[SearchResult, float]:
    """A search under the largest budget, and its processor time in s."""
    evaluator = SupernetEvaluator(
        data=str(arguments.data),
        weights=str(arguments.weights or ""),
        weights_spec=arguments.weights_spec or "",
    )
    begin = spent_s()
    result = search(
        space_with_classes(load_space(arguments.space), len(evaluator.images.classes)),
        budget=Budget(latency_ms=max(arguments.latency_ms)),
        device=arguments.device,
        evaluator=evaluator,
        time_s=arguments.time,
        seed=seed,
        listener=Listener(evaluated=lambda _: None, progress=lambda _: None),
    )
    cpu_s = spent_s() - begin
    print(f"seed {seed}: front of {len(result.front)}, {cpu_s:.0f} core-s; {'; '.join(result.notes)}", flush=True)
    return result, cpu_s


def beside(device: str, evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """The same networks, measured again side by side."""
    with open_device(device) as opened:
        latencies = Measurer(opened).measure([e.spec for e in evaluations], time_s=4.0 * len(evaluations))
    return [replace(e, latency=latency) for e, latency in zip(evaluations, latencies, strict=True)]


def result_of(arguments: argparse.Namespace, seed: int, rivals: dict[float, str]) -> dict[str, Any]:
    """The search and all trainings of one seed.

    Args:
        arguments: of the command line.
        seed: of the search and of the trainings.
        rivals: the grid's network for a budget, where an earlier seed found the better one; gets what this one finds.
    """
    result, search_cpu_s = searched(arguments, seed)
    rows: list[dict[str, Any]] = []
    made: dict[ModelSpec, Training] = {}
    for budget_ms in sorted(arguments.latency_ms):
        members = fitting(result.front, budget_ms)
        if not members:
            raise SystemExit(f"no network of the front fits {budget_ms:g} ms: give the search more --time")
        own = max(members, key=lambda e: e.accuracy.value if e.accuracy else 0.0)
        grid = fitting(result.baseline, budget_ms)
        known = [e for e in grid if e.spec.name == rivals.get(budget_ms)]
        own, *others = beside(arguments.device, [own, *(known or grid[:RIVALS])])
        for evaluation in (own, *others):
            if evaluation.spec not in made:
                made[evaluation.spec] = trained(evaluation, arguments, seed=seed)
        ours, trainings = made[own.spec], [made[e.spec] for e in others]
        best = max(trainings, key=lambda t: t.held_out)
        rivals[budget_ms] = best.name
        rows.append({"budget_ms": budget_ms, "ours": ours, "grid": best, "grid_trainings": trainings})
        print(
            f"  {budget_ms:g} ms: {ours.name} ({ours.latency_ms:.3f} ms, {ours.madds / 1e6:.1f} M multiply-adds) "
            f"{ours.test:.1%}, {best.name} ({best.latency_ms:.3f} ms, {best.madds / 1e6:.1f} M) {best.test:.1%}",
            flush=True,
        )
    grid_trainings = {t.name: t for row in rows for t in row["grid_trainings"]}.values()
    per_madd = sum(t.cpu_s for t in grid_trainings) / sum(t.madds for t in grid_trainings)
    grid_cpu_s = per_madd * sum(cost_of(e.spec).madds for e in fitting(result.baseline, max(arguments.latency_ms)))
    return {"seed": seed, "search_cpu_s": search_cpu_s, "grid_cpu_s": grid_cpu_s, "rows": rows}


def main() -> None:
    """Search and train for every seed; print a row for every budget."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--space", default="tiny32")
    parser.add_argument("--latency-ms", type=float, nargs="+", required=True)
    parser.add_argument("--time", type=float, default=600.0, help="of each search, s")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--recipe", default="short")
    parser.add_argument("--weights", type=Path, help="first weights of the search and of all trainings")
    parser.add_argument("--weights-spec", help="the network that published weights belong to")
    parser.add_argument("--device", default="onnxruntime")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rivals: dict[float, str] = {}
    found = [result_of(arguments, arguments.first_seed + seed, rivals) for seed in range(arguments.seeds)]
    print("\n| budget, ms | searched, top-1 | MobileNetV2 grid, top-1 | gain, points |\n|---|---|---|---|")
    for index, budget_ms in enumerate(sorted(arguments.latency_ms)):
        ours = np.array([100 * r["rows"][index]["ours"].test for r in found])
        grid = np.array([100 * r["rows"][index]["grid"].test for r in found])
        gain = ours - grid
        print(
            f"| {budget_ms:g} | {ours.mean():.1f} ± {ours.std():.1f} | {grid.mean():.1f} ± {grid.std():.1f} "
            f"| {gain.mean():+.1f} ± {gain.std():.1f} |"
        )
    searched = np.mean([r["search_cpu_s"] for r in found])
    whole = np.mean([r["grid_cpu_s"] for r in found])
    print(
        f"search {searched:.0f} core-s; training the grid within the largest budget {whole:.0f} core-s (estimated "
        f"from multiply-adds): {searched / whole:.2f}"
    )
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=1, default=asdict) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
