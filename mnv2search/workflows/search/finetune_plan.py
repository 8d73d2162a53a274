"""Plan which of the best networks of a search are trained further, for how long, and from which weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path

from mnv2search.accuracy.evaluator import Evaluator
from mnv2search.cost import cost_of
from mnv2search.data.prepare import Parts
from mnv2search.evaluation import Evaluation
from mnv2search.model.build import MobileNet, build
from mnv2search.model.weights.network_file import read_network
from mnv2search.recipe import Recipe, load_recipe
from mnv2search.results.finetuning import LONG_RECIPE, FinetuneReport, read_report
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import plan
from mnv2search.spec.size import Size
from mnv2search.study.results import median_ms_of, rank_of, slots_of
from mnv2search.supernet.inheritance import inherit
from mnv2search.tasks.task import AnyTask, Data
from mnv2search.training.distributed import own_device
from mnv2search.training.throughput import Speed, Timed, training_rate
from mnv2search.training.train import time_training

# Networks to train further, at most; more would leave too little time for each.
CANDIDATES = 5
# Share of the time kept in reserve, for the evaluation on the test images and for delays.
SPARE_SHARE = 0.1
# Recipe of trainings shorter than this many epochs; longer ones use `LONG_RECIPE`.
SHORT_RECIPE, LONG_EPOCHS = "short", 20
# If each training would see fewer images than the first, fewer networks are trained; a training that would see
# fewer images than the second is useless.
LEAST_IMAGES, FEWEST_IMAGES = 2_000, 500
# Passes to time this machine before anything else is done, and their largest share of the time.
TIMED, TIMING_SHARE = 4, 0.05
# Share of the time after which images of no further size are decoded.
DECODING_SHARE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Finetuning:
    """Which networks of a search to train further, on what, and for how long.

    Attributes:
        candidates: networks to choose from; the best first, after a search that trained every network.
        evaluator: evaluator of the search, whose weights the networks begin with; None begins with random weights.
        folder: parent of the folder of each training; an interrupted run resumes there.
        time_s: wall time for all trainings, including decoding and the final metrics.
        recipe: recipe of every training after a search with shared weights; None takes ``modern`` for 20 epochs or
            more, otherwise ``short``.
    """

    candidates: Sequence[Evaluation]
    task: AnyTask
    data: Data
    evaluator: Evaluator | None
    folder: Path
    time_s: float
    seed: int
    recipe: Recipe | None = None
    clock: Callable[[], float] = time.monotonic

    @property
    def epoch_images(self) -> int:
        """Number of images to train on."""
        return len(self.data.part("train"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Networks to train further, and how.

    Attributes:
        order: networks, longest training first.
        expected_s: duration of the training of a network, up to a common factor.
        factor: factor of `expected_s`; 0 while it is unknown.
        steps: steps of every training; None until the first training has determined how many fit.
        fewest_images: the first training is useless if it sees fewer images.
    """

    order: Sequence[Evaluation]
    recipe: Recipe
    parts: Callable[[ModelSpec], Parts[Sized]]
    expected_s: Callable[[Evaluation], float]
    factor: float
    begin: Callable[[ModelSpec], MobileNet]
    steps: int | None
    seed: int
    fewest_images: int = 0


def plan_of(request: Finetuning) -> Plan | None:
    """The plan of the trainings, or None if there is too little time."""
    evaluator = request.evaluator
    if evaluator is not None and evaluator.method == "training":
        return _plan_by_search(request, evaluator)
    return _plan_by_timing(request)


def best_of(front: Sequence[Evaluation], *, count: int = CANDIDATES) -> tuple[Evaluation, ...]:
    """The most accurate networks of a front, best first."""
    known = [e for e in front if e.accuracy is not None]
    return tuple(sorted(known, key=rank_of, reverse=True)[:count])


def candidates_of(finalists: Sequence[Evaluation], *, count: int = CANDIDATES) -> tuple[Evaluation, ...]:
    """Choose the finalists to train separately, fastest first.

    The ranking by shared weights is noisy and favours networks that learn fast. So the best network of every latency
    slot is taken, and then the best of the others.
    """
    slots = slots_of(finalists, count=count)
    chosen = [slot[0] for slot in slots if slot]
    others = sorted((e for e in finalists if e not in chosen), key=rank_of, reverse=True)
    return tuple(sorted((*chosen, *others[: count - len(chosen)]), key=median_ms_of))


# -- after a search that trained every network ---------------------------------------------------------------------


def _plan_by_search(request: Finetuning, evaluator: Evaluator) -> Plan:
    """Plan to train as many networks as can be trained for at least as long as in the search."""
    task, data, recipe, candidates = request.task, request.data, evaluator.recipe, request.candidates
    assert recipe is not None
    begun = read_report(request.folder)
    count = affordable(candidates, [evaluator.expected_s(e.spec) for e in candidates], time_s=request.time_s)
    if begun is not None:
        count = begun.count or len(begun.networks)

    def expected_s(evaluation: Evaluation) -> float:
        return evaluator.expected_s(evaluation.spec) or float(evaluation.cost.madds)

    return Plan(
        order=sorted(candidates[:count], key=expected_s, reverse=True),
        recipe=recipe,
        parts=lambda spec: task.prepare(data, spec, recipe),
        expected_s=expected_s,
        factor=0.0,
        begin=lambda spec: read_network(evaluator.trained_weights(spec)),
        steps=None if begun is None else begun.steps,
        seed=request.seed + 1,  # other random numbers than in the trainings of the search
    )


def affordable(candidates: Sequence[Evaluation], expected_s: Sequence[float], *, time_s: float) -> int:
    """Number of networks that can be trained for at least as long as in the search; at least 1.

    `candidates` are sorted best first; `expected_s` are the durations of their trainings in the search.
    """
    fitting = [n for n in range(1, len(candidates) + 1) if sum(expected_s[:n]) <= (1 - SPARE_SHARE) * time_s]
    return max(fitting, default=1)


# -- after a search with shared weights ----------------------------------------------------------------------------


def _plan_by_timing(request: Finetuning) -> Plan | None:
    """Plan to train as many networks as can each see enough images, from inherited weights."""
    begin, begun, time_s = request.clock(), read_report(request.folder), request.time_s
    if begun is None and _most_images(request) < FEWEST_IMAGES:
        return None
    recipe = _first_recipe(request, begun)
    candidates = request.candidates
    if begun is not None and begun.count:
        candidates = candidates_of(candidates, count=begun.count)
    decoded = _decoded(request, candidates, recipe, ends=begin + DECODING_SHARE * time_s)
    some: Sequence[Evaluation] = [e for e in candidates if e.spec.size in decoded]
    speed = _speed(request, some, decoded)
    steps = planned = None if begun is None else begun.steps
    if planned is None:
        left_s = (1 - SPARE_SHARE) * time_s - (request.clock() - begin)
        some, planned = _as_many_as_learn(some, speed, batch=recipe.batch, time_s=left_s)
        if planned * recipe.batch < FEWEST_IMAGES:
            return None
        if request.recipe is None and planned >= LONG_EPOCHS * request.epoch_images / recipe.batch:
            recipe = load_recipe(LONG_RECIPE)
            decoded = _decoded(request, some, recipe, ends=math.inf)
    evaluations = math.ceil(planned / max(1, request.epoch_images // recipe.batch))
    return Plan(
        order=_longest_first(some),
        recipe=recipe,
        parts=lambda spec: decoded[spec.size],
        expected_s=lambda e: speed.training_s(cost_of(e.spec).madds, steps=planned, evaluations=evaluations),
        factor=1.0,
        begin=lambda spec: _inheriting(spec, request),
        steps=steps,
        seed=request.seed,
        fewest_images=FEWEST_IMAGES,
    )


def _first_recipe(request: Finetuning, begun: FinetuneReport | None) -> Recipe:
    return request.recipe or load_recipe(SHORT_RECIPE if begun is None else begun.recipe)


def _decoded(
    request: Finetuning, candidates: Sequence[Evaluation], recipe: Recipe, *, ends: float
) -> dict[Size, Parts[Sized]]:
    """Decode the data for networks of each size, longest training first, until the time is over."""
    decoded: dict[Size, Parts[Sized]] = {}
    for spec in (e.spec for e in _longest_first(candidates)):
        if not decoded or (spec.size not in decoded and request.clock() < ends):
            decoded[spec.size] = request.task.prepare(request.data, spec, recipe)
    return decoded


def _inheriting(spec: ModelSpec, request: Finetuning) -> MobileNet:
    model = build(spec, seed=request.seed)
    if request.evaluator is not None:
        inherit(model, request.evaluator.member(spec).cpu())
    return model


def _most_images(request: Finetuning) -> float:
    """Estimate the images that the cheapest network could see in the time, from a few forward and backward passes."""
    cheapest, device = _longest_first(request.candidates)[-1].spec, own_device()
    timed = (build(cheapest).to(device), plan(cheapest))
    rate = training_rate([timed] * TIMED, device=device, most_s=TIMING_SHARE * request.time_s, clock=request.clock)
    return rate * request.time_s / cost_of(cheapest).madds


def _longest_first(networks: Sequence[Evaluation]) -> list[Evaluation]:
    return sorted(networks, key=lambda e: -cost_of(e.spec).madds)


def _speed(request: Finetuning, networks: Sequence[Evaluation], decoded: Mapping[Size, Parts[Sized]]) -> Speed:
    """Measure the training speed by a few steps of the cheapest and, if there is time, the costliest network."""
    clock, timed, device = request.clock, list[Timed](), own_device()
    begin = clock()
    dearest, *others = _longest_first(networks)
    for evaluation in (*others[-1:], dearest):
        if timed and clock() - begin > TIMING_SHARE * request.time_s:
            break
        found, network = decoded[evaluation.spec.size], build(evaluation.spec)
        train, val = found.examples["train"], found.examples["val"]
        timed.append(time_training(network, request.task, train, val, found.recipe, device=device, clock=clock))
    return Speed(timed)


def _as_many_as_learn(
    candidates: Sequence[Evaluation], speed: Speed, *, batch: int, time_s: float
) -> tuple[Sequence[Evaluation], int]:
    """Choose as many networks as can each see enough images, at least one, and the steps of each that fit."""
    for count in range(len(candidates), 1, -1):
        some = candidates_of(candidates, count=count)
        steps = _steps_of(some, speed, time_s=time_s)
        if steps * batch >= LEAST_IMAGES:
            return some, steps
    some = candidates_of(candidates, count=1)
    return some, _steps_of(some, speed, time_s=time_s)


def _steps_of(networks: Sequence[Evaluation], speed: Speed, *, time_s: float) -> int:
    madds = [cost_of(e.spec).madds for e in networks]
    last_s = sum(speed.training_s(one, steps=0, evaluations=1) for one in madds)
    return max(1, int((time_s - last_s) / sum(speed.training_s(one, steps=1, evaluations=0) for one in madds)))
