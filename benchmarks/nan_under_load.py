"""Losses that are not finite in short trainings from trained weights, next to other work on every core.

Run: `python benchmarks/nan_under_load.py --data DATA --weights results/NAME/ship.pt [--trainings 50] [--epochs 2]
[--recipe modern] [--precision auto] [--busy 2] [--output FILE]`

Each training begins from the weights with another seed, while `--busy` processes multiply matrices. The counts are of
losses that are not finite, steps that were repeated in single precision, returns to an earlier state, and trainings
that ended with an error. The goal is no such loss and no such error in 50 trainings.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import torch

from mnv2search.errors import TrainingError
from mnv2search.model.weights.network_file import read_spec
from mnv2search.training.precision import Precision
from mnv2search.workflows.training.request import TrainingRequest
from mnv2search.workflows.training.train import train_spec

BUSY = "import numpy\na = numpy.random.rand(600, 600)\nwhile True:\n    a = a @ a\n    a /= abs(a).max()"


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Run so many processes that multiply matrices, and end them afterwards."""
    running = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def main() -> None:
    """Train, count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--trainings", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--recipe")
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16", "float16"), default="auto")
    parser.add_argument("--busy", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    spec, precision = read_spec(given.weights), None if given.precision == "auto" else given.precision
    counts = {"trainings": 0, "steps": 0, "not finite": 0, "repeated": 0, "went back": 0, "errors": 0}
    notes: list[str] = []
    with busy(given.busy), tempfile.TemporaryDirectory() as root:
        for seed in range(given.trainings):
            request = TrainingRequest(
                spec=spec,
                data=given.data,
                folder=Path(root) / str(seed),
                recipe=given.recipe,
                epochs=given.epochs,
                seed=seed,
                weights=given.weights,
                precision=cast("Precision | None", precision),
                on_note=notes.append,
            )
            counts["trainings"] += 1
            try:
                trained = train_spec(request).trained
            except TrainingError as error:
                counts["errors"] += 1
                notes.append(error.message)
                continue
            counts["steps"] += trained.steps
            counts["not finite"] += sum(not math.isfinite(loss) for loss in trained.losses)
            counts["went back"] += trained.reductions
            print(f"seed {seed}: {trained.best.main.value:.1%} held out, loss {trained.losses[-1]:.3f}", flush=True)
    counts["repeated"] = sum("continues in float32" in note for note in notes)
    print(", ".join(f"{name} {count}" for name, count in counts.items()))
    print(*sorted(set(notes)), sep="\n")
    if given.output is not None:
        settings = {"network": spec.name, "threads": torch.get_num_threads(), "torch": torch.__version__}
        document = {**settings, "busy": given.busy, "precision": given.precision, **counts, "notes": notes}
        given.output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
