"""Training speed of this machine, and the expected durations and lengths of trainings."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from mnv2search.cost import cost_of
from mnv2search.errors import StoppedError
from mnv2search.model.build import build
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import Plan, plan
from mnv2search.training.gradient_step import NonFiniteGradientError, gradient_step
from mnv2search.training.learner import B, Job, Learner
from mnv2search.training.optimizers import optimizer_of
from mnv2search.training.pace import TRIAL_SHARE, Pace
from mnv2search.training.precision import Precision, half_of, scaler_of
from mnv2search.training.progress import State
from mnv2search.training.rng import own_draws

# Smallest useful number of trainings in a search: trainings are shortened, within limits, until this many fit.
WANTED = 4
# Number of lengths that are tried.
LENGTHS = 1000
# Fewest steps of a training from which the duration of later ones is estimated.
LEAST_STEPS = 10
# Images in a timed pass.
BATCH = 32
# Passes over random images to estimate the speed of this machine, and their largest share of the time.
PASSES, PASSES_SHARE = 4, 0.05
# Timed steps in each precision, and the largest ratio of times at which half precision is chosen: without hardware
# support it is ten times slower, and saving a tenth is not worth the rounding errors.
HALF_TRIALS = 3
HALF_FASTER = 0.85
# If a step in half precision is slower than this many steps in single precision, the trial ends.
HALF_HOPELESS = 2.0


class Timed(NamedTuple):
    """Training speed of a network: wall time of a step, and of an evaluation on all validation images."""

    madds: float
    step_s: float
    evaluation_s: float


class Speed:
    """Expected durations of trainings, interpolated in multiply-adds and scaled by finished trainings.

    One or two networks are timed, of which the smaller is first; after one, durations of larger networks are
    proportional to multiply-adds.

    >>> speed = Speed([Timed(100, 1.0, 2.0), Timed(200, 1.5, 3.0)])
    >>> speed.training_s(150, steps=10, evaluations=2)
    17.5
    >>> speed.took(35.0, madds=150, steps=10, evaluations=2)
    >>> speed.training_s(100, steps=10, evaluations=0)
    20.0
    >>> one = Speed([Timed(100, 1.0, 2.0)])
    >>> one.training_s(50, steps=10, evaluations=0), one.training_s(300, steps=10, evaluations=1)
    (10.0, 36.0)
    """

    def __init__(self, timed: Sequence[Timed]) -> None:
        self._timed = tuple(timed)
        self._scale = 1.0

    def training_s(self, madds: float, *, steps: int, evaluations: int) -> float:
        """Expected wall time of a training, in seconds."""
        return self._scale * self._unscaled_s(madds, steps, evaluations)

    def took(self, seconds: float, *, madds: float, steps: int, evaluations: int) -> None:
        """Scale later expectations by the duration of a training, finished or not."""
        if steps >= LEAST_STEPS:
            self._scale = seconds / self._unscaled_s(madds, steps, evaluations)

    def _unscaled_s(self, madds: float, steps: int, evaluations: int) -> float:
        return steps * self._at(madds, 1) + evaluations * self._at(madds, 2)

    def _at(self, madds: float, place: int) -> float:
        first, last = self._timed[0], self._timed[-1]
        if len(self._timed) == 1:
            return first[place] * max(1.0, madds / first.madds)
        least = 0.25 * min(first[place], last[place])
        if last.madds <= first.madds:
            return max(least, last[place])
        share = (madds - first.madds) / (last.madds - first.madds)
        return max(least, first[place] + share * (last[place] - first[place]))


class TrainingLength(NamedTuple):
    """The length of the trainings of a search, and how many fit into the time."""

    steps: int
    fitting: int


def chosen_length(
    training_s: Callable[[int], float], *, asked: int, least: int, time_s: float, wanted: int = WANTED
) -> TrainingLength:
    """Choose the longest trainings, of at most `asked` steps, of which `wanted` fit into a time.

    If fewer than `wanted` trainings of `least` steps fit, the longest trainings are chosen of which as many fit.

    `training_s` returns the wall time of a training by its steps; trainings of fewer than `least` steps are useless.

    >>> chosen_length(lambda steps: steps, asked=150, least=60, time_s=700)
    TrainingLength(steps=150, fitting=4)
    >>> chosen_length(lambda steps: steps, asked=150, least=60, time_s=400)
    TrainingLength(steps=100, fitting=4)
    >>> chosen_length(lambda steps: steps, asked=150, least=60, time_s=140)
    TrainingLength(steps=70, fitting=2)
    >>> chosen_length(lambda steps: steps, asked=150, least=60, time_s=50)
    TrainingLength(steps=60, fitting=0)
    """

    def fitting(steps: int) -> int:
        return math.floor(time_s / training_s(steps))

    least = min(least, asked)
    many = min(wanted, fitting(least))
    apart = max(1, (asked - least) // LENGTHS)
    steps = next((steps for steps in range(asked, least - 1, -apart) if fitting(steps) >= max(1, many)), least)
    return TrainingLength(steps, fitting(steps))


def evaluations_of(steps: int, *, epoch_steps: int, most: float) -> int:
    """Number of evaluations of a training: after every epoch or every few epochs, and at the end.

    >>> evaluations_of(150, epoch_steps=25, most=4), evaluations_of(60, epoch_steps=25, most=4)
    (3, 3)
    """
    every = epoch_steps * math.ceil(max(1.0, steps / most) / epoch_steps)
    return math.ceil(steps / every)


def training_rate(
    networks: Sequence[tuple[Callable[[torch.Tensor], torch.Tensor], Plan]],
    *,
    device: str,
    most_s: float = math.inf,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Forward multiply-adds per second of training on this machine, by a forward and backward pass of each network.

    `networks` are functions from images (N, 3, H, W) to logits with their plans, cheapest first; the first is only
    for warm-up. Networks expected to exceed `most_s` are left out.
    """
    done, spent_s, left_s = 0.0, 0.0, most_s
    for number, (net, laid_out) in enumerate(networks):
        madds = cost_of(laid_out).madds * BATCH
        if done and madds * spent_s / done > left_s:
            break
        images = torch.rand(BATCH, 3, *laid_out.spec.size).contiguous(memory_format=torch.channels_last).to(device)
        begin = clock()
        answers = net(images)
        functional.cross_entropy(answers, torch.zeros(BATCH, dtype=torch.long, device=device)).backward()  # type: ignore[no-untyped-call]
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        took_s = clock() - begin
        left_s -= took_s
        if number:
            spent_s += took_s
            done += madds
    return done / max(spent_s, 1e-9)


def images_within(
    spec: ModelSpec, *, time_s: float, device: str, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Estimate how many images a classifier can be trained on within a time, from a few passes over random images."""
    timed = (build(spec).to(device), plan(spec))
    rate = training_rate([timed] * PASSES, device=device, most_s=PASSES_SHARE * time_s, clock=clock)
    return rate * time_s / cost_of(spec).madds


def fastest(
    step: Callable[[Precision], object],
    half: Precision,
    *,
    clock: Callable[[], float] = time.monotonic,
    is_over: Callable[[], bool] = lambda: False,
    stop: Callable[[], bool] = lambda: False,
) -> Precision:
    """Half precision if a few alternating steps show that it is clearly faster than single precision.

    `is_over` is polled after every step and ends the trial; `stop` is polled before every step.

    Raises:
        StoppedError: `stop` returned True.
    """
    seconds: dict[Precision, list[float]] = {"float32": [], half: []}
    for precision in ("float32", half) * HALF_TRIALS:
        if stop():
            raise StoppedError("interrupted before the first step; run the same command to start over")
        begin = clock()
        step(precision)
        seconds[precision].append(clock() - begin)
        hopeless = seconds[half] and min(seconds[half]) > HALF_HOPELESS * max(seconds["float32"])
        if hopeless or is_over():
            break
    if not seconds[half]:
        return "float32"
    return half if min(seconds[half]) < HALF_FASTER * min(seconds["float32"]) else "float32"


def automatic_precision(learner: Learner[B], job: Job, model: nn.Module, pace: Pace) -> Precision:
    """Single precision on a CPU; on a GPU, half precision if a trial shows that it is clearly faster.

    With PyTorch 2.13, oneDNN sometimes leaves a gradient of a depthwise convolution in bfloat16 partly unwritten on
    a CPU. Values that are not finite are noticed, other wrong ones are not.
    """
    return faster_precision(learner, job, model, pace) if job.device.startswith("cuda") else "float32"


def faster_precision(learner: Learner[B], job: Job, model: nn.Module, pace: Pace) -> Precision:
    """Half precision if a few steps of a copy of the model show that it is clearly faster than single precision.

    Half precision is timed on GPUs too: a small network waits for the host, which must also launch conversions.

    Raises:
        StoppedError: the training was asked to stop.
    """
    tried = copy.deepcopy(model)
    recipe = learner.recipe
    optimizer = optimizer_of(tried, recipe)
    scaler, time_s = scaler_of("float32", job.device), job.time_s
    learner.recipe = replace(recipe, randaugment=0, mixup=0.0)

    def step(precision: Precision) -> float:
        return gradient_step(learner, tried, optimizer, batch, State(precision=precision), scaler)

    with own_draws(job.device), closing(learner.batches(epoch=0, first=0, ahead=False)) as batches:
        batch = next(batches)
        try:
            return fastest(
                step,
                half_of(job.device),
                clock=job.clock,
                is_over=lambda: time_s is not None and pace.elapsed_s > TRIAL_SHARE * time_s,
                stop=job.stop,
            )
        except NonFiniteGradientError:
            return "float32"
        finally:
            learner.recipe = recipe
