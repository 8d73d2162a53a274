"""Training all networks of a space at once, in one set of weights."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnv2search.data.batches import Batch, training_batches
from mnv2search.data.pixels import Pixels
from mnv2search.data.prefetch import Feed
from mnv2search.data.transforms import Transform
from mnv2search.errors import OptionError
from mnv2search.model.elastic import ElasticNet, Located
from mnv2search.recipe import Recipe
from mnv2search.spec.model_spec import square_side
from mnv2search.spec.space import Pick
from mnv2search.training.learner import Job, Learner
from mnv2search.training.progress import State
from mnv2search.training.trainer import Trainer

# Of the time, what is planned with: no evaluation has to fit into the rest.
TIME_SHARE = 0.97
# Points of the rest of a training at which the networks of a step are counted, to tell how long it will be.
LOOKED_AHEAD = 32
CHECKPOINT_S = 20.0
# Of what all but the teacher learn, from the labels; the rest from the teacher's outputs, which say little at first.
LABEL_SHARE = 0.5


class Draw(Protocol):
    """Which networks a step trains."""

    def __call__(self, rng: random.Random, share: float) -> Sequence[Pick]:
        """The networks of one step, when a share of the training is over; the first teaches the others."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SupernetTrained:
    """The outcome of a training of shared weights.

    Attributes:
        images: drawn in all of them.
        passes: images times networks that saw them, in this process.
        seconds: wall time in this process.
        cpu_s: processor time in this process.
        losses: of the teaching network, each step of this process.
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
    learner = _Sandwiches(net, pixels, recipe, draw, job, side=side, identity=identity)
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
    """Shared weights, a few networks of which learn from every batch."""

    what = "supernet"
    evaluations = 0
    time_share = TIME_SHARE

    def __init__(
        self,
        net: ElasticNet,
        pixels: Pixels,
        recipe: Recipe,
        draw: Draw,
        job: Job,
        *,
        side: int,
        identity: Mapping[str, str],
    ) -> None:
        self.model = self.net = net.to(job.device)
        self.recipe = replace(recipe, ema=0.0, dropout=None)
        self.pixels, self.draw, self.job, self.identity = pixels, draw, job, identity
        self.batch = min(recipe.batch, len(pixels))
        self.epoch_steps = len(pixels) // self.batch
        self.transform = Transform.of(recipe, side)
        self.checkpoint_s = CHECKPOINT_S
        self.passes = self.networks = 0

    def batches(self, *, epoch: int, first: int, ahead: bool = True) -> Generator[Batch]:
        feed = Feed() if ahead else Feed(ahead=0)
        seed = self.job.seed
        return training_batches(
            self.pixels, self.transform, batch=self.batch, seed=seed, epoch=epoch, first=first, feed=feed
        )

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
    """Set the batch norms' statistics of a model to the mean of some batches (N, 3, S, S); the model, in eval mode.

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
