"""Train all networks of a space at once, with shared weights."""

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

# Share of the time to plan with: no evaluation has to fit into the rest.
TIME_SHARE = 0.97
# Points in the rest of a training at which the networks of a step are counted, to estimate its duration.
LOOKED_AHEAD = 32
CHECKPOINT_S = 20.0
# Weight of the labels in the loss of the students; the rest is distillation from the teacher, whose outputs are
# uninformative at first.
LABEL_SHARE = 0.5


# Networks in a step: the largest, the smallest, and at least one between.
PASSES = 3
# In a training that begins with one trained network, the share in which only that network is trained, and the mean
# number of networks in a step.
ALONE = 0.6
SHRINKING_PASSES = ALONE + 2 * (1 - ALONE)
# Share of the picks, sorted by multiply-adds, that counts as the largest, and share that counts as the smallest.
END_SHARE = 0.02
# A training with fewer epochs does not overfit, so cropping and mirroring only harm it (rank correlation 0.86 instead
# of 0.89 after 32,000 images of 42,500).
FEW_EPOCHS = 3.0


class Sandwich:
    """Draws one of the largest networks, one of the smallest, and random ones, from picks sorted by multiply-adds.

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
    """Draws the network of the initial weights, first alone, and then together with a random one.

    This network adapts first, because training others earlier would spoil its weights for all networks; the others
    then learn from its outputs at the low learning rates at the end of the training.

    Source: the largest network first, then smaller ones: Cai et al., arXiv 1908.09791, section 3.3.
    """

    def __init__(self, teacher: Pick, picks: Sequence[Pick]) -> None:
        self._teacher, self._picks = teacher, tuple(picks)

    def __call__(self, rng: random.Random, share: float) -> Sequence[Pick]:
        """The networks of a step, teacher first, after a share of the training."""
        return [self._teacher] if share < ALONE else [self._teacher, rng.choice(self._picks)]


def suited(recipe: Recipe, *, epochs: float) -> Recipe:
    """The recipe, without cropping, shifting and mirroring if images are seen only a few times."""
    if epochs >= FEW_EPOCHS:
        return recipe
    return replace(recipe, least_area=1.0, shift_px=0, mirror=False)


def by_madds(
    space: SearchSpace, picks: Sequence[Pick], *, change: Callable[[ModelSpec], ModelSpec] = lambda spec: spec
) -> tuple[Pick, ...]:
    """The picks sorted by the multiply-adds of their networks."""
    return tuple(sorted(picks, key=lambda pick: cost_of(change(resolve(space, pick))).madds))


def step_rate(space: SearchSpace, picks: Sequence[Pick], *, device: str = "cpu", most_s: float = math.inf) -> float:
    """Forward multiply-adds per second of training, by a few forward and backward passes.

    The smallest networks are timed and, if the time allows, a medium one and the largest, which use a machine better.
    """
    net = ElasticNet(space).to(device)
    order = by_madds(space, picks)
    chosen = [order[0], order[0], order[min(1, len(order) - 1)], order[len(order) // 2], order[-1]]
    placed = [net.place(pick) for pick in chosen]
    return training_rate([(partial(net, network=one), one.plan) for one in placed], device=device, most_s=most_s)


class Draw(Protocol):
    """Selects the networks that a step trains."""

    def __call__(self, rng: random.Random, share: float) -> Sequence[Pick]:
        """The networks of a step, after a share of the training; the first is the teacher of the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupernetTrained:
    """The result of a training of shared weights; seconds, passes and losses are those of this process.

    `images` is the number of images over all processes; `passes` counts each image once per network that saw it.
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

    All networks of a step see the same batch. The first learns from the labels, the others half from the labels and
    half from the outputs of the first (in-place distillation); one optimizer step follows.

    The weights are trained in place, on batches with a side of `side` px, scaled for networks of other resolutions.
    Mixup, RandAugment, EMA, patience and class weights of the recipe are ignored. A checkpoint with another
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
    """Add the gradients of a batch, averaged over networks, of which the first is the teacher; returns its loss.

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
    """Set the batch norm statistics of a model to the mean over batches (N, 3, S, S); returns it in eval mode.

    Shared statistics do not suit every network: without recalibration, the ranking of networks is no better than
    chance.

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
