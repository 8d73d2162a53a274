"""Which networks a step of a supernet's training shows its images to."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from mnv2search.cost import cost_of
from mnv2search.model.elastic import ElasticNet
from mnv2search.recipe import Recipe
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.space import Pick, SearchSpace, resolve
from mnv2search.training.throughput import training_rate

# The largest, the smallest, and one or more between.
PASSES = 3
# Of a training that begins with one trained network, the share in which that network is trained alone; its passes.
ALONE = 0.6
SHRINKING_PASSES = ALONE + 2 * (1 - ALONE)
# Of the picks, in order of their multiply-adds, that count as the largest, and as the smallest.
END_SHARE = 0.02
# A training that sees every image less often than this learns nothing by heart: cutting and mirroring only cost it
# (rank correlation 0.86 in place of 0.89 after 32,000 images of 42,500).
FEW_EPOCHS = 3.0


class Sandwich:
    """Draws one of the largest networks first, then one of the smallest, then any.

    All come from the picks that it was made of, so that weights are trained for what a search will look at.

    `picks` are in order of multiply-adds; a step trains as many networks as there are passes.

    Source: Yu and Huang, arXiv 1903.05134.
    """

    def __init__(self, picks: Sequence[Pick], *, passes: int = PASSES) -> None:
        self._picks, self._passes = tuple(picks), passes
        self._ends = max(1, int(END_SHARE * len(picks)))

    def __call__(self, rng: random.Random, share: float) -> Sequence[Pick]:
        """The networks of one step, the teacher first; the same at every part of the training."""
        del share
        largest = rng.choice(self._picks[-self._ends :])
        smallest = rng.choice(self._picks[: self._ends])
        return [largest, smallest, *(rng.choice(self._picks) for _ in range(self._passes - 2))]


class Shrinking:
    """Draws the network alone that trained weights belong to, and then it together with any other.

    What it learned elsewhere is worth more than what minutes can teach, and every network that is trained from its
    weights before they are adapted spoils them for all: so it adapts first, and the others learn from its answers at
    the low rate of a training's end.

    Source: the largest network first, then smaller ones: Cai et al., arXiv 1908.09791, section 3.3.
    """

    def __init__(self, teacher: Pick, picks: Sequence[Pick]) -> None:
        self._teacher, self._picks = teacher, tuple(picks)

    def __call__(self, rng: random.Random, share: float) -> Sequence[Pick]:
        """The networks of one step, the teacher first, when a share of the training is over."""
        return [self._teacher] if share < ALONE else [self._teacher, rng.choice(self._picks)]


def suited(recipe: Recipe, *, epochs: float) -> Recipe:
    """The recipe without cutting, shifting and mirroring where images are seen only a few times."""
    if epochs >= FEW_EPOCHS:
        return recipe
    return replace(recipe, least_area=1.0, shift_px=0, mirror=False)


def by_madds(
    space: SearchSpace, picks: Sequence[Pick], *, change: Callable[[ModelSpec], ModelSpec] = lambda spec: spec
) -> tuple[Pick, ...]:
    """The picks in order of their networks' multiply-adds."""
    return tuple(sorted(picks, key=lambda pick: cost_of(change(resolve(space, pick))).madds))


def step_rate(space: SearchSpace, picks: Sequence[Pick], *, device: str = "cpu", most_s: float = math.inf) -> float:
    """Multiply-adds (of one evaluation) in a second of training here, by a few passes forward and back.

    The smallest of the picks are timed and, where the time allows, one of the middle and the largest: small networks
    get less out of a machine.
    """
    net = ElasticNet(space).to(device)
    order = by_madds(space, picks)
    chosen = [order[0], order[0], order[min(1, len(order) - 1)], order[len(order) // 2], order[-1]]
    placed = [net.place(pick) for pick in chosen]
    return training_rate([(partial(net, network=one), one.plan) for one in placed], device=device, most_s=most_s)
