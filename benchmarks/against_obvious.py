"""What a search ships, against the obvious choice and against training the shipped network alone, in equal wall time.

Run: `python benchmarks/against_obvious.py --data DATA --space SPACE --latency-ms MS --time 10m [--seeds 3]
[--weights FILE --weights-spec NAME] [--threads 1] --keep FOLDER [-o FILE.json]`

For every seed

* `mnv2search run` searches on the data for the whole time, with its defaults, and ships a network with its weights;
* the obvious choice: the three slowest networks of the MobileNetV2 grid that fit (by the upper end of the interval
  that the search measured) are each trained by `mnv2search train` for a third of the time, and the slowest of them
  for the whole time; of these four, the one with the best figure on held-out images counts;
* the shipped network is trained alone by `mnv2search train` for half of the time.

All begin with the same weights and take the recipe of the search's longest training, which depends on its number of
epochs. Accuracies are those on the test images, with 90 % intervals; the latencies of the shipped and the obvious
network are measured again side by side. All results are kept in a folder, and the same command resumes where it
stopped. Nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mnv2search.evaluation import Evaluation
from mnv2search.latency.measuring.timing import Measurer
from mnv2search.latency.registry import open_device
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.yaml.codec import load_spec
from mnv2search.study.deadline import seconds_of
from mnv2search.study.results import median_ms_of
from mnv2search.tasks.metrics import Metrics, difference_of, metrics_of_record, record_of
from mnv2search.workflows.search.api import run
from mnv2search.workflows.search.run import Outcome
from mnv2search.workflows.training.api import train

OBVIOUS = 3
EACH_S = 4.0


def kept(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The JSON of a file, made first if it is missing."""
    if not path.exists():
        made = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(made) + "\n", encoding="utf-8")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def searched(arguments: argparse.Namespace, folder: Path, seed: int) -> dict[str, Any]:
    """The shipped network and its figures, and the networks of the grid that fit, slowest first."""
    asked = {name: getattr(arguments, name) for name in ("space", "latency_ms", "time", "device")}
    outcome: Outcome = run(**asked, **_begun(arguments, seed), name="run", output_dir=folder, confirm=False)
    found, result = outcome.finetuned, outcome.result
    if found is None:
        raise SystemExit(f"nothing was trained: {'; '.join(outcome.notes)}")
    fitting = sorted((e for e in result.baseline if e.is_feasible), key=median_ms_of, reverse=True)
    grid = [e for e in fitting if e.spec.name.startswith("mobilenet_v2_")][:OBVIOUS]
    return {
        "ship": found.networks[found.best].spec.name,
        "is_obvious": found.networks[found.best].spec.name in found.obvious,
        "held_out": record_of(found.held_out[found.best]),
        "test": record_of(found.test),
        "steps": found.steps[found.best],
        "recipe": found.recipe,
        "elapsed_s": result.elapsed_s,
        "trials": result.trials,
        "notes": [*outcome.notes, *found.notes],
        "grid": [_written(e, folder) for e in grid],
    }


def _begun(arguments: argparse.Namespace, seed: int) -> dict[str, Any]:
    """What every training begins with."""
    weights = {"from_": arguments.weights, "from_spec": arguments.weights_spec}
    return {"data": arguments.data, "seed": seed, **weights}


def _written(evaluation: Evaluation, folder: Path) -> str:
    from mnv2search.spec.yaml.codec import dumps

    path = folder / f"{evaluation.spec.name}.yaml"
    path.write_text(dumps(evaluation.spec), encoding="utf-8")
    return str(path)


def trained(
    arguments: argparse.Namespace, spec: str, output: Path, *, recipe: str, time_s: float, seed: int
) -> dict[str, Any]:
    """A network after a separate training."""
    found = train(spec, recipe=recipe, time=time_s, output=output, **_begun(arguments, seed))
    return {
        "name": found.spec.name,
        "held_out": record_of(found.trained.best),
        "test": record_of(found.test),
        "steps": found.trained.steps,
    }


def of_seed(arguments: argparse.Namespace, seed: int) -> dict[str, Any]:
    """The search and all trainings of one seed."""
    folder, time_s = arguments.keep / f"seed{seed}", seconds_of(arguments.time) or 0.0
    folder.mkdir(parents=True, exist_ok=True)
    search = kept(folder / "search.json", lambda: searched(arguments, folder, seed))
    plans = [(spec, time_s / OBVIOUS, "third") for spec in search["grid"]]
    plans += [(spec, time_s, "whole") for spec in search["grid"][:1]]
    obvious = []
    for spec, own_s, length in plans:
        name = f"{Path(spec).stem}-{length}"

        def make(spec: str = spec, name: str = name, own_s: float = own_s) -> dict[str, Any]:
            return trained(arguments, spec, folder / name, recipe=search["recipe"], time_s=own_s, seed=seed)

        obvious.append(kept(folder / f"{name}.json", make))
    ship = str(folder / "run" / "ship.yaml")
    alone = kept(
        folder / "alone.json",
        lambda: trained(arguments, ship, folder / "alone", recipe=search["recipe"], time_s=time_s / 2, seed=seed),
    )
    best = max(obvious, key=lambda one: _metrics(one["held_out"]).main.value, default=None)
    rival = next((load_spec(spec) for spec in search["grid"] if best and Path(spec).stem == best["name"]), None)
    specs = [load_spec(ship)] if rival is None else [load_spec(ship), rival]
    beside = kept(folder / "beside.json", lambda: _beside(arguments, specs))
    row = {"seed": seed, "search": search, "obvious": best, "all_obvious": obvious, "alone": alone, **beside}
    print(_row_text(row), flush=True)
    return row


def _beside(arguments: argparse.Namespace, specs: Sequence[ModelSpec]) -> dict[str, Any]:
    with open_device(arguments.device) as device:
        found = Measurer(device).measure(specs, time_s=len(specs) * EACH_S)
    return {"latency_ms": [latency.median_ms for latency in found]}


def _metrics(record: dict[str, Any]) -> Metrics:
    return metrics_of_record(record)


def _row_text(row: dict[str, Any]) -> str:
    own_ms, *rival_ms = row["latency_ms"]
    obvious = row["obvious"]
    rival = "none fits | | | "
    if obvious is not None:
        value = 100 * _metrics(obvious["test"]).main.value
        rival = (
            f"{obvious['name']}, {obvious['steps']} steps | {value:.1f} | {rival_ms[0]:.3f} | {_gain(row, 'obvious')}"
        )
    found, alone = (100 * _metrics(row[name]["test"]).main.value for name in ("search", "alone"))
    return (
        f"| {row['seed']} | {row['search']['ship']}, {row['search']['steps']} steps | {found:.1f} | {own_ms:.3f} "
        f"| {rival} | {row['alone']['steps']} steps: {alone:.1f} | {_gain(row, 'alone')} |"
    )


def _gain(row: dict[str, Any], other: str) -> str:
    gain = difference_of(_metrics(row["search"]["test"]).main, _metrics(row[other]["test"]).main)
    return f"{100 * gain.value:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"


def main() -> None:
    """Search and train for every seed; print a row for each, and means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--space", default="mnasnet")
    parser.add_argument("--latency-ms", type=float, required=True)
    parser.add_argument("--time", default="10m")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--weights", type=Path, help="initial weights of the search and of all trainings")
    parser.add_argument("--weights-spec", help="the network that published weights belong to")
    parser.add_argument("--device", default="onnxruntime")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--keep", type=Path, required=True, help="folder of the results, from which the benchmark resumes"
    )
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print("| seed | shipped | test, % | ms | obvious | test, % | ms | gain, points | alone, half | gain |")
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    rows = [of_seed(arguments, seed) for seed in seeds]
    for name, other in (("the obvious choice", "obvious"), ("the shipped network alone", "alone")):
        gains = [
            100 * (_metrics(row["search"]["test"]).main.value - _metrics(row[other]["test"]).main.value)
            for row in rows
            if row[other] is not None
        ]
        if gains:
            print(f"over {name}: {np.mean(gains):+.1f} ± {np.std(gains):.1f} points")
    if arguments.output:
        arguments.output.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
