"""Choose which networks of a search are trained further, decode their images, and time their trainings."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from mnv2search.accuracy.evaluator import Evaluator
from mnv2search.cost import cost_of
from mnv2search.data.prepare import Parts
from mnv2search.evaluation import Evaluation
from mnv2search.model.build import build
from mnv2search.recipe import Recipe
from mnv2search.spec.model_spec import Classifier, ModelSpec
from mnv2search.spec.size import Size
from mnv2search.study.results import median_ms_of, rank_of, slots_of
from mnv2search.tasks.task import AnyTask, Data
from mnv2search.training.distributed import own_device
from mnv2search.training.throughput import Speed, Timed, images_within
from mnv2search.training.train import time_training

# Networks of the space to train further, at most; more would leave too little time for each.
CANDIDATES = 5
# Minimum steps of each network in a round, below which fewer networks enter; minimum steps of any useful training.
LEAST_STEPS, FEWEST_STEPS = 30, 8
# Largest share of the time for timing a few steps.
TIMING_SHARE = 0.05
# Share of the time after which images of no further size are decoded.
DECODING_SHARE = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Finetuning:
    """Which networks of a search to train further, on what, and for how long.

    Attributes:
        candidates: networks of the space to choose from, best first.
        obvious: networks that the best of them must beat, most obvious first.
        evaluator: evaluator of the search, whose weights the networks begin with; None begins with random weights.
        folder: parent of the folder of each training; an interrupted run resumes there.
        time_s: wall time for all trainings, including decoding and the final metrics.
        best_s: part of `time_s` that is kept for the longest training, that of the best network.
    """

    candidates: Sequence[Evaluation]
    task: AnyTask
    data: Data
    evaluator: Evaluator | None
    folder: Path
    time_s: float
    best_s: float
    seed: int
    obvious: Sequence[Evaluation] = ()
    clock: Callable[[], float] = time.monotonic

    @property
    def epoch_images(self) -> int:
        """Number of images to train on."""
        return len(self.data.part("train"))


def best_of(front: Sequence[Evaluation], *, count: int = CANDIDATES) -> tuple[Evaluation, ...]:
    """The most accurate networks, best first."""
    known = [e for e in front if e.accuracy is not None]
    return tuple(sorted(known, key=rank_of, reverse=True)[:count])


def candidates_of(finalists: Sequence[Evaluation], *, count: int = CANDIDATES) -> tuple[Evaluation, ...]:
    """Choose the finalists to train separately, best first.

    The ranking by shared weights is noisy and favours networks that learn fast. So the best network of every latency
    slot is taken, and then the best of the others.
    """
    slots = slots_of(finalists, count=count)
    chosen = [slot[0] for slot in slots if slot]
    others = sorted((e for e in finalists if e not in chosen), key=rank_of, reverse=True)
    return best_of((*chosen, *others[: count - len(chosen)]))


def in_turn(candidates: Sequence[Evaluation], obvious: Sequence[Evaluation]) -> tuple[Evaluation, ...]:
    """Candidates and obvious networks alternately; the first two are one of each kind."""
    pairs = zip_longest(candidates, obvious)
    return tuple(one for pair in pairs for one in pair if one is not None)


class Decoded:
    """The images of networks by size, decoded once for each."""

    def __init__(self, request: Finetuning, recipe: Recipe) -> None:
        self._request, self._recipe = request, recipe
        self._parts: dict[Size, Parts[Sized]] = {}

    def parts(self, spec: ModelSpec) -> Parts[Sized]:
        """The splits for a network."""
        if spec.size not in self._parts:
            self._parts[spec.size] = self._request.task.prepare(self._request.data, spec, self._recipe)
        return self._parts[spec.size]

    def affordable(self, networks: Sequence[Evaluation], *, ends: float) -> list[Evaluation]:
        """Decode images for networks, in order, until the time `ends`; returns the networks with images."""
        for evaluation in networks:
            if not self._parts or self._request.clock() < ends:
                self.parts(evaluation.spec)
        return [e for e in networks if e.spec.size in self._parts]

    def forget(self, kept: Sequence[ModelSpec]) -> None:
        """Free the images of all other sizes than those of some networks."""
        sizes = {spec.size for spec in kept}
        self._parts = {size: parts for size, parts in self._parts.items() if size in sizes}


def most_steps(request: Finetuning, batch: int) -> float:
    """Estimate the steps that the cheapest network could take in the time, from a few forward and backward passes.

    Infinite for networks other than classifiers, which the search has trained already.
    """
    if not isinstance(request.candidates[0].spec.head, Classifier):
        return math.inf
    networks = (*request.candidates, *request.obvious)
    cheapest = min(networks, key=lambda e: cost_of(e.spec).madds).spec
    device = own_device()
    return images_within(cheapest, time_s=request.time_s, device=device, clock=request.clock) / batch


def speed_of(request: Finetuning, networks: Sequence[Evaluation], decoded: Decoded) -> Speed:
    """Measure the training speed by a few steps of the cheapest and, if there is time, the costliest network."""
    clock, timed, device = request.clock, list[Timed](), own_device()
    begin = clock()
    cheapest, *others = sorted(networks, key=lambda e: cost_of(e.spec).madds)
    for evaluation in (cheapest, *others[-1:]):
        if timed and clock() - begin > TIMING_SHARE * request.time_s:
            break
        found, network = decoded.parts(evaluation.spec), build(evaluation.spec)
        train, val = found.examples["train"], found.examples["val"]
        classes, task = request.data.classes, request.task
        timed.append(
            time_training(network, task, train, val, found.recipe, classes=classes, device=device, clock=clock)
        )
    return Speed(timed)


def steps_within(networks: Sequence[Evaluation], speed: Speed, *, time_s: float) -> int:
    """Steps that each network can take within a time for all of them, with an evaluation at the end; at least 1."""
    madds = [cost_of(e.spec).madds for e in networks]
    last_s = sum(speed.training_s(one, steps=0, evaluations=1) for one in madds)
    return max(1, int((time_s - last_s) / sum(speed.training_s(one, steps=1, evaluations=0) for one in madds)))


def rounds_of(count: int) -> int:
    """Rounds of trainings until one of `count` networks is left, if each round halves them.

    >>> [rounds_of(count) for count in (1, 2, 3, 5, 8, 9)]
    [0, 1, 2, 3, 3, 4]
    """
    return math.ceil(math.log2(count)) if count > 1 else 0


def halved(networks: Sequence[Evaluation], obvious: Sequence[Evaluation]) -> tuple[Evaluation, ...]:
    """The better half of networks sorted best first; if it has two or more, at least one of each kind.

    `obvious` holds the networks of the second kind.
    """
    kept = list(networks[: math.ceil(len(networks) / 2)])
    if len(kept) > 1:
        for is_obvious in (True, False):
            of_kind = [e for e in networks if (e in obvious) == is_obvious]
            if of_kind and of_kind[0] not in kept:
                kept[-1] = of_kind[0]
    return tuple(kept)


def by_latency(networks: Sequence[Evaluation]) -> tuple[Evaluation, ...]:
    """Networks, fastest first."""
    return tuple(sorted(networks, key=median_ms_of))
