"""Training all networks of a space at once, in one set of weights."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnv2search.cost import cost_of
from mnv2search.data.batches import Batch, Epoch, Feed, training_batches
from mnv2search.data.pixels import Pixels
from mnv2search.data.transforms import Transform
from mnv2search.errors import OptionError
from mnv2search.model.elastic import ElasticNet, Located
from mnv2search.recipe import Recipe
from mnv2search.spec.model_spec import ModelSpec, square_side
from mnv2search.spec.space import Pick, SearchSpace, resolve
from mnv2search.training.learner import Job, Learner
from mnv2search.training.progress import State
from mnv2search.training.throughput import training_rate
from mnv2search.training.trainer import Trainer

# Of the time, what is planned with: no evaluation has to fit into the rest.
TIME_SHARE = 0.97
# Points of the rest of a training at which the networks of a step are counted, to tell how long it will be.
LOOKED_AHEAD = 32
CHECKPOINT_S = 20.0
# Of what all but the teacher learn, from the labels; the rest from the teacher's outputs, which say little at first.
LABEL_SHARE = 0.5


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
    """Draws one of the largest networks, one of the smallest, and random ones, of picks in order of multiply-adds.

    Source: Yu and Huang, arXiv 1903.05134.
    """

    def __init__(self, picks: Sequence[Pick], *, passes: int = PASSES) -> None:
        self._picks, self._passes = tuple(picks), passes
        self._ends = max(1, int(END_SHARE * len(picks)))

    def __call__(self, rng: random.Random, share: float) -> Sequence[Pick]:
        """The networks of one step, the teacher first."""
        del share
        largest = rng.choice(self._picks[-self._ends :])
        smallest = rng.choice(self._picks[: self._ends])
        return [largest, smallest, *(rng.choice(self._picks) for _ in range(self._passes - 2))]


class Shrinking:
    """Draws the network that trained weights belong to, first alone, and then together with any other.

    It adapts first, because every other network that is trained from its weights before spoils them for all; the
    others then learn from its outputs at the low rate of the end of a training.

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
    """Multiply-adds (of one evaluation) per second of training, by a few passes forward and back.

    The smallest networks are timed and, if the time allows, a middle one and the largest, which use a machine better.
    """
    net = ElasticNet(space).to(device)
    order = by_madds(space, picks)
    chosen = [order[0], order[0], order[min(1, len(order) - 1)], order[len(order) // 2], order[-1]]
    placed = [net.place(pick) for pick in chosen]
    return training_rate([(partial(net, network=one), one.plan) for one in placed], device=device, most_s=most_s)


class Draw(Protocol):
    """Selects the networks that a step trains."""

    def __call__(self, rng: random.Random, share: float) -> Sequence[Pick]:
        """The networks of one step, when a share of the training is over; the first teaches the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupernetTrained:
    """The outcome of a training of shared weights; seconds, passes and losses are those of this process.

    `images` is the number drawn in all of them, `passes` that of images times networks that saw them.
    """

    steps: int
    images: int
    passes: int
    seconds: float
    cpu_s: float
    losses: tuple[float, ...]
    resumed_at: int = 0
    stopped: bool = False


def train_supernet(
    net: ElasticNet, pixels: Pixels, recipe: Recipe, draw: Draw, job: Job, *, side: int, identity: Mapping[str, str]
) -> SupernetTrained:
    """Train shared weights, or resume a training that stopped in the job's folder.

    Each step takes one batch, which all of its networks see. The first learns from the labels, the others half from
    them and half from its outputs (in-place distillation); one step of the optimizer follows for all of them.

    The weights are trained in place, on batches with a side in px; networks of other resolutions see them scaled. Of
    the recipe, mixing, operations on images and running means of weights play no part. A checkpoint with another
    `identity` is refused.

    Raises:
        OptionError: neither steps nor a time is given, or the folder holds another training.
        TrainingError: the loss is not a number, or a checkpoint cannot be read or written.

    Source: the sandwich rule and in-place distillation: Yu et al., arXiv 1903.05134 and 2003.11142.
    """
    if (job.steps is None) == (job.time_s is None):
        raise OptionError("a supernet is trained for some steps or for a time", hint="give one of the two")
    begin, cpu = job.clock(), time.process_time()
    learner = _Sandwiches(net, pixels, recipe, draw, job, side=side)
    learner.identity = identity
    trainer = Trainer(learner, replace(job, precision="float32"))
    trainer.run()
    state = trainer.state
    return SupernetTrained(
        steps=state.step,
        images=state.step * learner.batch,
        passes=learner.passes,
        seconds=job.clock() - begin,
        cpu_s=time.process_time() - cpu,
        losses=tuple(state.losses),
        resumed_at=state.step - len(state.losses),
        stopped=state.step != state.steps,
    )


def fitted_to(images: Tensor, side: int) -> Tensor:
    """A batch (N, 3, H, W) scaled to a side in px."""
    if images.shape[-1] == side:
        return images
    scaled = functional.interpolate(images, (side, side), mode="bilinear", antialias=True, align_corners=False)
    return scaled.contiguous(memory_format=torch.channels_last)


class _Sandwiches(Learner[Batch]):
    what = "supernet"
    evaluations = 0
    time_share = TIME_SHARE

    def __init__(self, net: ElasticNet, pixels: Pixels, recipe: Recipe, draw: Draw, job: Job, *, side: int) -> None:
        self.model = self.net = net.to(job.device)
        self.recipe = replace(recipe, ema=0.0, dropout=None)
        self.pixels, self.draw, self.job = pixels, draw, job
        self.batch = min(recipe.batch, len(pixels))
        self.epoch_steps = len(pixels) // self.batch
        self.transform = Transform.of(recipe, side)
        self.checkpoint_s = CHECKPOINT_S
        self.passes = self.networks = 0

    def batches(self, *, epoch: int, first: int, ahead: bool = True) -> Generator[Batch]:
        feed = Feed() if ahead else Feed(ahead=0)
        plan = Epoch(batch=self.batch, seed=self.job.seed, number=epoch, first=first, feed=feed)
        return training_batches(self.pixels, self.transform, plan)

    def backward(self, model: nn.Module, batch: Batch, state: State, scaler: torch.amp.GradScaler) -> float:  # noqa: ARG002
        picks = self.draw(
            random.Random(f"{self.job.seed} {state.step}"), state.step / state.steps if state.steps else 0.0
        )
        networks = [self.net.place(pick) for pick in picks]
        images, labels = batch.images.to(self.job.device), batch.labels.to(self.job.device)
        self.networks = len(picks)
        self.passes += len(picks) * len(labels)
        return backpropagate(
            self.net, networks, images, labels, label_smoothing=self.recipe.label_smoothing, scale=scaler.scale
        )

    def work(self, share: float) -> float:
        shares = [share + (1 - share) * (i + 0.5) / LOOKED_AHEAD for i in range(LOOKED_AHEAD)]
        return sum(len(self.draw(random.Random(0), one)) for one in shares) / LOOKED_AHEAD

    @property
    def last_work(self) -> float:
        return float(self.networks)


def backpropagate(
    net: ElasticNet,
    networks: Sequence[Located],
    images: Tensor,
    labels: Tensor,
    *,
    label_smoothing: float = 0.0,
    scale: Callable[[Tensor], Tensor] = lambda loss: loss,
) -> float:
    """Add the gradients of a batch, averaged over some networks; the loss of the first one, which teaches the others.

    The images (N, 3, S, S) are normalised, and `scale` is applied to every loss.
    """
    teacher, *students = networks
    logits = net(fitted_to(images, square_side(teacher.plan.spec)), teacher)
    loss = functional.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    scale(loss / len(networks)).backward()  # type: ignore[no-untyped-call]
    target = logits.detach().softmax(1)
    for student in students:
        own = net(fitted_to(images, square_side(student.plan.spec)), student)
        learned = LABEL_SHARE * functional.cross_entropy(own, labels, label_smoothing=label_smoothing)
        learned = learned + (1 - LABEL_SHARE) * functional.cross_entropy(own, target)
        scale(learned / len(networks)).backward()  # type: ignore[no-untyped-call]
    return float(loss.detach())


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterable[Tensor]) -> nn.Module:
    """Set the batch norm statistics of a model to the mean of some batches (N, 3, S, S); the model in eval mode.

    Shared weights have no statistics that suit every network: without this, a member of a supernet ranks no better
    than by chance.

    Source: Yu et al., arXiv 1903.05134, section 3.2.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    dropped = [module for module in model.modules() if isinstance(module, nn.Dropout)]
    model.train()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches
    for module in dropped:
        module.eval()
    for images in batches:
        model(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model.eval()
