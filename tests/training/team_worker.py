"""What each process of a team does in the tests: python -m torch.distributed.run ... team_worker.py FOLDER."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

from small_networks import SPEC

from mnv2search.data.pixels import Pixels, decoded
from mnv2search.data.reading import read_dataset
from mnv2search.model.build import build
from mnv2search.recipe import Recipe
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.tasks.classification import Classification
from mnv2search.training.distributed import ALONE, Team, joined
from mnv2search.training.learner import Job
from mnv2search.training.progress import Trained
from mnv2search.training.train import train

# without batch norm a part of a batch says what it says in the whole
PLAIN = replace(SPEC, normalizer="none")
RECIPE = Recipe(
    lr=0.05,
    lr_batch=16,
    batch=16,
    epochs=3,
    warmup_epochs=1,
    ema=0.9,
    mixup=0.2,
    clip_norm=2.0,
    dropout=0.0,
    least_area=0.5,
)


def parts_of(folder: Path) -> tuple[Pixels, Pixels]:
    """The pictures of the tests, decoded."""
    images = read_dataset(folder / "photos", "classification")
    first, second = (decoded(p, short_px=36, folder=folder / "cache") for p in (images.train, images.test))
    return first, second


def trained(
    spec: ModelSpec, folder: Path, parts: tuple[Pixels, Pixels], team: Team = ALONE, *, stop_at: int = 0
) -> Trained:
    """A training; the last process alone asks to stop."""
    asked = list[int]()

    def stop() -> bool:
        asked.append(1)
        return bool(stop_at) and len(asked) >= stop_at and team.rank == team.size - 1

    job = Job(folder=folder, precision="float32", team=team, seed=1, stop=stop)
    return train(build(spec, seed=team.rank), Classification(), *parts, RECIPE, job)


def main(folder: Path) -> None:
    """Train whole and in two parts, and tell the losses."""
    with joined("cpu") as team:
        parts = team.in_turn(lambda: parts_of(folder))
        plain = trained(PLAIN, folder / "plain", parts, team)
        whole = trained(SPEC, folder / "whole", parts, team)
        first = trained(SPEC, folder / "parts", parts, team, stop_at=5)
        rest = trained(SPEC, folder / "parts", parts, team)
        job = Job(folder=folder / "timed", precision="float32", team=team, time_s=1.5)
        timed = train(build(SPEC, seed=0), Classification(), *parts, RECIPE, job)
        agreed = team.sums([timed.steps])[0] == team.size * timed.steps
        if team.is_leader:
            told = {
                "plain": plain.losses,
                "top1": plain.best.main.value,
                "whole": whole.losses,
                "first": first.losses,
                "rest": rest.losses,
                "resumed_at": rest.resumed_at,
                "agreed": agreed,
            }
            print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
