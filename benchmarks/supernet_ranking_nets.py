"""Networks of NAS-Bench-Macro with the weights of a supernet: its training, what they inherit, and keeping both.

Used by `supernet_ranking.py`. The images come from the shared data folder (`$MNV2SEARCH_SHARED`).
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from search_quality_problems import shared_data

from mnv2search.spec.space import Pick, SearchSpace, canonical
from mnv2search.spec.yaml.codec import loads

if TYPE_CHECKING:
    from mnv2search.model.elastic import ElasticNet

__all__ = ["Choice", "Inherited", "NetsOfSupernet", "opened"]

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
SIDE_PX = 16
EPOCHS = 2.0
WARM_STEPS = 40

Choice = tuple[int, ...]


class Inherited(NamedTuple):
    """Of one network with inherited weights: top-1 and what it is ordered by, in percent, and the time it took."""

    top1: float
    merit: float
    core_s: float


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


class NetsOfSupernet:
    """What networks inherit from trained weights; with a file for them, figures found once are not found again."""

    def __init__(self, net: ElasticNet, *, seed: int, effort: dict[str, float], figures: Path | None) -> None:
        self._net, self._seed, self._figures = net, seed, figures
        self.effort = effort
        self.told: dict[Choice, Inherited] = {}
        if figures is not None and figures.exists():
            for line in figures.read_text(encoding="utf-8").splitlines():
                choice, *found = json.loads(line)
                self.told[tuple(choice)] = Inherited(*found)
        self._evaluate: Callable[[Choice], Inherited] | None = None

    def inherited(self, choice: Choice) -> Inherited:
        """Figures of a network."""
        if choice not in self.told:
            if self._evaluate is None:
                self._evaluate = _evaluation(self._net, seed=self._seed)
            found = self.told[choice] = self._evaluate(choice)
            if self._figures is not None:
                with self._figures.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps([choice, *found]) + "\n")
        return self.told[choice]


def opened(*, seed: int, core_seconds: float, keep: Path | None) -> NetsOfSupernet:
    """The networks of a supernet that is trained for it, or was and is kept in a folder."""
    import torch

    from mnv2search.model.elastic import ElasticNet
    from mnv2search.supernet.proxy_scale import Fidelity, reduced

    torch.set_num_threads(1)
    space = loads(SPACE)
    assert isinstance(space, SearchSpace)

    def fresh() -> ElasticNet:
        return ElasticNet(space, change=lambda spec: reduced(spec, Fidelity(0.5, 0.5)), seed=seed)

    if keep is None:
        net, effort = _trained(fresh, seed=seed, core_seconds=core_seconds)
        return NetsOfSupernet(net, seed=seed, effort=effort, figures=None)
    name = f"seed{seed}-{core_seconds:g}s"
    weights, figures = keep / f"{name}.pt", keep / f"{name}.jsonl"
    if weights.exists():
        kept = torch.load(weights, weights_only=True)
        net, effort = fresh(), kept["effort"]
        net.load_state_dict(kept["weights"])
    else:
        net, effort = _trained(fresh, seed=seed, core_seconds=core_seconds)
        keep.mkdir(parents=True, exist_ok=True)
        figures.unlink(missing_ok=True)
        torch.save({"effort": effort, "weights": net.state_dict()}, weights)
    return NetsOfSupernet(net, seed=seed, effort=effort, figures=figures)


def _prepared() -> Any:
    """The images at 16 px, with the recipe that suits them."""
    from mnv2search.data.prepare import prepare
    from mnv2search.data.reading import image_folder, read_dataset
    from mnv2search.recipe import load_recipe

    images = read_dataset(shared_data() / "sets" / "cifar10_jpg.tar.xz", "classification", unpack_to=image_folder())
    return prepare(images, side=SIDE_PX, recipe=load_recipe("supernet"), splits=("train", "val"))


def _trained(
    fresh: Callable[[], ElasticNet], *, seed: int, core_seconds: float
) -> tuple[ElasticNet, dict[str, float]]:
    """Trained weights, and what the training took."""
    from mnv2search.supernet.train import train_supernet
    from mnv2search.training.learner import Job

    prepared = _prepared()
    net = fresh()
    space = net.space
    largest, smallest = pick_of(space, (2,) * 8), pick_of(space, (0,) * 8)

    def drawn(rng: Any, share: float) -> list[Pick]:
        del share
        free = [tuple(rng.randrange(3) for _ in range(8)) for _ in range(PASSES - 2)]
        return [largest, smallest, *(pick_of(space, choice) for choice in free)]

    def steps(net: ElasticNet, count: int, folder: Path) -> Any:
        return train_supernet(
            net,
            prepared.examples["train"],
            prepared.recipe,
            drawn,
            Job(folder=folder, seed=seed, steps=count),
            side=SIDE_PX,
            identity={},
        )

    with tempfile.TemporaryDirectory() as folder:
        warm = steps(net, WARM_STEPS, Path(folder) / "pace")  # how many steps the core-seconds are worth
        net = fresh()
        done = steps(net, int(core_seconds / (warm.cpu_s / WARM_STEPS)), Path(folder) / "whole")
    return net, {"steps": done.steps, "images": done.images, "core_s": done.cpu_s, "passes": done.passes}


def _evaluation(net: ElasticNet, *, seed: int) -> Callable[[Choice], Inherited]:
    """What finds a network's figures on the held-out images, its batch norms recalibrated on 256 training images."""
    from mnv2search.data.batches import Epoch, Feed, training_batches
    from mnv2search.data.transforms import Transform
    from mnv2search.supernet.train import recalibrate, suited
    from mnv2search.tasks.classification import classify

    prepared = _prepared()
    recipe = suited(prepared.recipe, epochs=EPOCHS)
    transform = Transform.of(recipe, SIDE_PX)
    epoch = Epoch(batch=256, seed=seed, number=0, feed=Feed(ahead=0))
    calibration = next(training_batches(prepared.examples["train"], transform, epoch)).images

    def inherited(choice: Choice) -> Inherited:
        begin = time.process_time()
        model = net.member(net.place(pick_of(net.space, choice)))
        recalibrate(model, [calibration])
        found = classify(model.eval(), prepared.examples["val"], transform)
        return Inherited(100 * found.main.value, 100 * math.exp(-(found.loss or 0.0)), time.process_time() - begin)

    return inherited
