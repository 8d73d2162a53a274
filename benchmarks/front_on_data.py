"""Networks that a search on images finds, against the MobileNetV2 grid, at equal latency and equal training.

Run: `python benchmarks/front_on_data.py --data cifar10.tar.xz --space tiny32 --latency-ms 0.4 0.7 1.2 --time 10m
[--epochs 3] [--seeds 3] [--recipe modern] [--device onnxruntime] [-o FILE.json]`

For every seed one search under the largest budget, with shared weights, in the time given. Then for every budget
the network of its front with the highest inherited accuracy among those that fit (by the upper end of the
interval), and of the MobileNetV2 width x resolution grid measured in the same run the two that come nearest to the
budget, are trained from random weights by the same recipe for as many epochs; the better of the two grid networks
on held-out images counts. Figures are of the test images. Costs are processor time: of the search, and of training
the whole grid as its multiply-adds say it would take at the rate of the grid networks that were trained.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mnv2search.accuracy.evaluators.supernet import SupernetEvaluator
from mnv2search.cost import cost_of
from mnv2search.evaluation import Budget, Evaluation
from mnv2search.jobs.search import search
from mnv2search.jobs.train import train_spec
from mnv2search.spec.classes import space_with_classes
from mnv2search.spec.codec import load_space
from mnv2search.study.types import Listener
from mnv2search.training.recipe import Recipe, load_recipe

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


def trained(evaluation: Evaluation, data: Path, *, recipe: Recipe, epochs: int, seed: int) -> Training:
    """The network after training."""
    assert evaluation.latency is not None
    begin = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        found = train_spec(
            evaluation.spec, data=data, folder=Path(folder) / "it", recipe=recipe, epochs=epochs, seed=seed
        )
    return Training(
        name=evaluation.spec.name,
        latency_ms=evaluation.latency.median_ms,
        madds=cost_of(found.spec).madds,
        held_out=found.trained.best.top1,
        test=found.test.top1,
        cpu_s=time.process_time() - begin,
    )


def fitting(evaluations: Sequence[Evaluation], budget_ms: float) -> list[Evaluation]:
    """Those that fit by the upper end of their interval, slowest first."""
    found = [e for e in evaluations if e.latency is not None and e.latency.ci_high_ms <= budget_ms]
    return sorted(found, key=lambda e: -(e.latency.median_ms if e.latency else 0.0))


def result_of(arguments: argparse.Namespace, seed: int) -> dict[str, Any]:
    """The search and all trainings of one seed."""
    recipe = load_recipe(arguments.recipe)
    evaluator = SupernetEvaluator(data=str(arguments.data))
    budgets = sorted(arguments.latency_ms)
    begin = time.process_time()
    result = search(
        space_with_classes(load_space(arguments.space), len(evaluator.images.classes)),
        budget=Budget(latency_ms=budgets[-1]),
        device=arguments.device,
        evaluator=evaluator,
        time_s=arguments.time,
        seed=seed,
        listener=Listener(evaluated=lambda _: None, progress=lambda _: None),
    )
    search_cpu_s = time.process_time() - begin
    print(
        f"seed {seed}: front of {len(result.front)}, {search_cpu_s:.0f} core-s; {'; '.join(result.notes)}", flush=True
    )
    rows, grid_trainings = [], []
    for budget_ms in budgets:
        members = fitting(result.front, budget_ms)
        if not members:
            raise SystemExit(f"no network of the front fits {budget_ms:g} ms: give the search more --time")
        own = max(members, key=lambda e: e.accuracy.value if e.accuracy else 0.0)
        rivals = fitting(result.baseline, budget_ms)[:RIVALS]
        ours = trained(own, arguments.data, recipe=recipe, epochs=arguments.epochs, seed=seed)
        others = [trained(e, arguments.data, recipe=recipe, epochs=arguments.epochs, seed=seed) for e in rivals]
        grid_trainings += others
        best = max(others, key=lambda t: t.held_out)
        rows.append({"budget_ms": budget_ms, "ours": ours, "grid": best})
        print(
            f"  {budget_ms:g} ms: {ours.name} ({ours.latency_ms:.2f} ms) {ours.test:.1%}, "
            f"{best.name} ({best.latency_ms:.2f} ms) {best.test:.1%}",
            flush=True,
        )
    per_madd = sum(t.cpu_s for t in grid_trainings) / sum(t.madds for t in grid_trainings)
    grid_cpu_s = per_madd * sum(cost_of(e.spec).madds for e in fitting(result.baseline, budgets[-1]))
    return {"seed": seed, "search_cpu_s": search_cpu_s, "grid_cpu_s": grid_cpu_s, "rows": rows}


def main() -> None:
    """Search and train for every seed; print a row for every budget."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--space", default="tiny32")
    parser.add_argument("--latency-ms", type=float, nargs="+", required=True)
    parser.add_argument("--time", type=float, default=600.0, help="of each search, s")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--recipe", default="modern")
    parser.add_argument("--device", default="onnxruntime")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found = [result_of(arguments, arguments.first_seed + seed) for seed in range(arguments.seeds)]
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
        rows = [{**r, "rows": [{k: _plain(v) for k, v in row.items()} for row in r["rows"]]} for r in found]
        arguments.output.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


if __name__ == "__main__":
    main()
