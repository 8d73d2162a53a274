"""Networks that a search on images finds, against the MobileNetV2 grid, at equal latency and equal training.

Run: `python benchmarks/front_on_data.py --data cifar10.tar.xz --space benchmarks/spaces/tiny32_sides.yaml
--latency-ms 0.26 0.35 0.44 --time 390 [--epochs 2] [--seeds 3] [--recipe short] [--device onnxruntime]
[--weights FILE --weights-spec NAME] [--finetune] [--keep FOLDER] [-o FILE.json]`

First the MobileNetV2 width x resolution grid is measured, and for every budget the two of its networks that come
nearest to it are trained. Then for every seed there is one search under the largest budget, with shared weights, in
the time given. For every budget the network that it ranks first among those of its front that fit (by the upper end
of the interval) is measured again side by side with the two of the grid, and trained by the same recipe for as many
epochs, all from random weights or all from the same published ones. The better of the two grid networks on held-out
images counts; the first seed finds it, the others train it alone. Figures are of the test images. Costs are
processor time: of the search, and of training the grid within the largest budget once, as its multiply-adds say it
would take at the rate of the grid networks that were trained.

With `--finetune` a search ends as `mnv2search run --finetune` does, with short trainings of some networks on their
own, which then decide which network is taken for a budget.

With `--keep` whatever is done is kept in a folder, and the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from mnv2search.accuracy.evaluators.supernet import SupernetEvaluator
from mnv2search.cost import cost_of
from mnv2search.data.reading import image_folder, read_dataset
from mnv2search.evaluation import Budget, Evaluation
from mnv2search.latency.measuring.timing import Measurer
from mnv2search.latency.registry import open_device
from mnv2search.latency.types import Latency
from mnv2search.recipe import load_recipe
from mnv2search.spec.classes import space_with_classes
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.yaml.codec import dumps, load_space, load_spec, loads
from mnv2search.study.baseline import baseline_grid
from mnv2search.study.results import rank_of
from mnv2search.study.types import Listener
from mnv2search.workflows.search.api import search
from mnv2search.workflows.search.finetuning.finetune import finetune
from mnv2search.workflows.search.finetuning.plan import Finetuning, candidates_of
from mnv2search.workflows.search.finetuning.time_shares import OF_FEW, TimeShares
from mnv2search.workflows.training.request import TrainingRequest
from mnv2search.workflows.training.train import train_spec

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
    madds: int
    held_out: float
    test: float
    cpu_s: float


class Rival(NamedTuple):
    """A network of the grid, and the upper end of the interval of its latency in ms."""

    spec: ModelSpec
    high_ms: float


def spent_s() -> float:
    """Processor time of this process and of those that it waited for."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def kept(arguments: argparse.Namespace, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was kept under a name, or else what is made now."""
    path = arguments.keep / f"{name}.json" if arguments.keep else None
    if path and path.exists():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    made = make()
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(made), encoding="utf-8")
    return made


def trained(spec: ModelSpec, arguments: argparse.Namespace, *, seed: int) -> Training:
    """The network after training."""

    def make() -> dict[str, Any]:
        begin = spent_s()
        with tempfile.TemporaryDirectory() as folder:
            request = TrainingRequest(
                spec=spec,
                data=arguments.data,
                folder=Path(folder) / "it",
                recipe=load_recipe(arguments.recipe),
                epochs=arguments.epochs,
                seed=seed,
                weights=arguments.weights,
                weights_spec=load_spec(arguments.weights_spec) if arguments.weights_spec else None,
            )
            found = train_spec(request)
        training = Training(
            name=spec.name,
            madds=cost_of(found.spec).madds,
            held_out=found.trained.best.main.value,
            test=found.test.main.value,
            cpu_s=spent_s() - begin,
        )
        print(f"  seed {seed}: {spec.name} {training.test:.1%}, {training.cpu_s:.0f} core-s", flush=True)
        return asdict(training)

    return Training(**kept(arguments, f"{spec.name}-seed{seed}", make))


def measured(device: str, specs: Sequence[ModelSpec], *, each_s: float) -> tuple[Latency, ...]:
    """Latencies side by side."""
    with open_device(device) as opened:
        return Measurer(opened).measure(specs, time_s=each_s * len(specs))


def grid_of(arguments: argparse.Namespace) -> dict[str, Rival]:
    """MobileNetV2's grid that fits the largest budget, by name."""
    classes = len(read_dataset(arguments.data, "classification", unpack_to=image_folder()).classes)
    specs = baseline_grid(space_with_classes(load_space(arguments.space), classes))

    def make() -> dict[str, Any]:
        rough = measured(arguments.device, specs, each_s=0.3)
        near = [
            spec
            for spec, found in zip(specs, rough, strict=True)
            if found.median_ms < 1.2 * max(arguments.latency_ms)
        ]
        found = measured(arguments.device, near, each_s=4.0)
        return {spec.name: latency.ci_high_ms for spec, latency in zip(near, found, strict=True)}

    high_ms = kept(arguments, "grid", make)
    return {spec.name: Rival(spec, high_ms[spec.name]) for spec in specs if spec.name in high_ms}


def rivals_of(grid: dict[str, Rival], budget_ms: float) -> list[ModelSpec]:
    """Of the grid's networks that fit, those that come nearest to a budget."""
    fitting = sorted((r for r in grid.values() if r.high_ms <= budget_ms), key=lambda r: -r.high_ms)
    return [rival.spec for rival in fitting[:RIVALS]]


def searched(arguments: argparse.Namespace, seed: int) -> dict[str, Any]:
    """A search under the largest budget: its cost, and for every budget the network that it ranks first."""
    evaluator = SupernetEvaluator(
        data=str(arguments.data),
        weights=str(arguments.weights or ""),
        weights_spec=arguments.weights_spec or "",
    )
    begin = spent_s()
    shares = OF_FEW if arguments.finetune else TimeShares(search=1.0, longest=0.0)
    result = search(
        space_with_classes(load_space(arguments.space), len(evaluator.dataset.classes)),
        budget=Budget(latency_ms=max(arguments.latency_ms)),
        device=arguments.device,
        evaluator=evaluator,
        time_s=shares.search * arguments.time,
        seed=seed,
        listener=Listener(evaluated=lambda _: None, progress=lambda _: None),
    )
    front = result.front
    if arguments.finetune:
        with tempfile.TemporaryDirectory() as folder:
            request = Finetuning(
                candidates=candidates_of(result.finalists),
                task=evaluator.task,
                data=evaluator.dataset,
                evaluator=evaluator,
                folder=Path(folder),
                obvious=result.rivals,
                time_s=shares.finetuning * arguments.time,
                best_s=shares.longest * arguments.time,
                seed=seed,
            )
            found = finetune(request)
        if found is None:
            raise SystemExit("no time was left for trainings on their own: give the search more --time")
        front = found.trained
        print(f"seed {seed}: {found.steps} steps of {', '.join(map(told, front))}", flush=True)
    cpu_s = spent_s() - begin
    print(f"seed {seed}: front of {len(result.front)}, {cpu_s:.0f} core-s; {'; '.join(result.notes)}", flush=True)
    members = [
        {
            "spec": dumps(replace(e.spec, name=f"{e.spec.name}-of-seed{seed}")),
            "high_ms": e.latency.ci_high_ms,
            "rank": rank_of(e),
        }
        for e in front
        if e.latency is not None
    ]
    return {"cpu_s": cpu_s, "members": members, "front": len(result.front), "notes": result.notes}


def picked(search_: dict[str, Any], budget_ms: float) -> ModelSpec:
    """The network of a front that ranks first among those that fit; other budgets need no other search."""
    fitting = [member for member in search_["members"] if member["high_ms"] <= budget_ms]
    if not fitting:
        raise SystemExit(f"no network of the front fits {budget_ms:g} ms: give the search more --time")
    spec = loads(max(fitting, key=lambda member: member["rank"])["spec"])
    assert isinstance(spec, ModelSpec)
    return spec


def told(evaluation: Evaluation) -> str:
    """Name, latency and accuracy."""
    assert evaluation.latency is not None
    assert evaluation.accuracy is not None
    return f"{evaluation.spec.name} ({evaluation.latency.median_ms:.3f} ms, {evaluation.accuracy.value:.1%})"


def result_of(
    arguments: argparse.Namespace, seed: int, grid: dict[str, Rival], better: dict[float, ModelSpec]
) -> dict[str, Any]:
    """The search and all trainings of one seed.

    Args:
        arguments: of the command line.
        seed: of the search and of the trainings.
        grid: MobileNetV2's.
        better: the grid's network for a budget, where an earlier seed found it; gets what this one finds.
    """
    trainings: dict[float, list[Training]] = {}
    for budget_ms in sorted(arguments.latency_ms):
        specs = [better[budget_ms]] if budget_ms in better else rivals_of(grid, budget_ms)
        trainings[budget_ms] = [trained(spec, arguments, seed=seed) for spec in specs]
        best = max(trainings[budget_ms], key=lambda training: training.held_out)
        better[budget_ms] = grid[best.name].spec
    search_ = kept(arguments, f"search-seed{seed}", lambda: searched(arguments, seed))
    rows: list[dict[str, Any]] = []
    for budget_ms, of_grid in trainings.items():
        own, rival = picked(search_, budget_ms), better[budget_ms]
        ours, best = trained(own, arguments, seed=seed), max(of_grid, key=lambda training: training.held_out)
        beside = kept(
            arguments,
            f"beside-{budget_ms:g}-seed{seed}",
            lambda own=own, rival=rival: {  # type: ignore[misc]
                "latency_ms": [found.median_ms for found in measured(arguments.device, [own, rival], each_s=4.0)]
            },
        )
        own_ms, rival_ms = beside["latency_ms"]
        rows.append(
            {
                "budget_ms": budget_ms,
                "ours": {**asdict(ours), "latency_ms": own_ms},
                "grid": {**asdict(best), "latency_ms": rival_ms},
                "grid_trainings": [asdict(training) for training in of_grid],
            }
        )
        print(
            f"  {budget_ms:g} ms: {ours.name} ({own_ms:.3f} ms, {ours.madds / 1e6:.1f} M multiply-adds) "
            f"{ours.test:.1%}, {best.name} ({rival_ms:.3f} ms, {best.madds / 1e6:.1f} M) {best.test:.1%}",
            flush=True,
        )
    of_grid = list({t.name: t for found in trainings.values() for t in found}.values())
    per_madd = sum(t.cpu_s for t in of_grid) / sum(t.madds for t in of_grid)
    fitting = [r.spec for r in grid.values() if r.high_ms <= max(arguments.latency_ms)]
    return {
        "seed": seed,
        "search_cpu_s": search_["cpu_s"],
        "grid_cpu_s": per_madd * sum(cost_of(spec).madds for spec in fitting),
        "notes": search_["notes"],
        "front": search_["front"],
        "rows": rows,
    }


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
    parser.add_argument("--weights", type=Path, help="initial weights of the search and of all trainings")
    parser.add_argument("--weights-spec", help="the network that published weights belong to")
    parser.add_argument("--device", default="onnxruntime")
    parser.add_argument(
        "--finetune",
        action="store_true",
        help="decide among the last few by trainings of their own, for which a third of the time is",
    )
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--keep", type=Path, help="keep what is done here, and go on from it")
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    grid, better = grid_of(arguments), dict[float, ModelSpec]()
    found = [result_of(arguments, arguments.first_seed + seed, grid, better) for seed in range(arguments.seeds)]
    print("\n| budget, ms | searched, top-1 | MobileNetV2 grid, top-1 | gain, points |\n|---|---|---|---|")
    for index, budget_ms in enumerate(sorted(arguments.latency_ms)):
        ours = np.array([100 * r["rows"][index]["ours"]["test"] for r in found])
        rival = np.array([100 * r["rows"][index]["grid"]["test"] for r in found])
        gain = ours - rival
        print(
            f"| {budget_ms:g} | {ours.mean():.1f} ± {ours.std():.1f} | {rival.mean():.1f} ± {rival.std():.1f} "
            f"| {gain.mean():+.1f} ± {gain.std():.1f} |"
        )
    searched = np.mean([r["search_cpu_s"] for r in found])
    whole = np.mean([r["grid_cpu_s"] for r in found])
    print(
        f"search {searched:.0f} core-s; training the grid within the largest budget {whole:.0f} core-s (estimated "
        f"from multiply-adds): {searched / whole:.2f}"
    )
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
