"""One step of a training, and what is set before it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mnv2search.data.augment import augmented
from mnv2search.data.image_batches import Batch
from mnv2search.recipe import Recipe
from mnv2search.training.precision import Precision

__all__ = ["RunningMean", "autocast", "backward", "descend", "set_dropout", "set_momentum"]

# Batch norm's running figures forget over a window of this share of the steps at most: with slim's momentum of 0.003
# a training of a few hundred steps would be evaluated with the figures of its beginning.
NORM_WINDOW = 0.05


def descend(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    batch: Batch,
    teacher: nn.Module | None,
    drawn: tuple[int, int],
    *,
    precision: Precision,
    scaler: torch.amp.GradScaler,
) -> float:
    """One step; the loss before it.

    Args:
        model: to train, perhaps shared with other processes.
        optimizer: of its weights.
        recipe: how the batch is changed, and what the loss is.
        batch: images and labels, where the model is.
        teacher: a network whose answers are learned from too, half and half.
        drawn: seed and number of the step.
        precision: of the convolutions.
        scaler: of the gradients; a step whose gradients are not finite in float16 is left out, and scaled less.
    """
    if not model.training:
        model.train()
    images, labels = batch
    if recipe.randaugment:
        images = augmented(
            images, operations=recipe.randaugment, magnitude=recipe.magnitude, normalization=recipe.normalization
        )
    share, other = 1.0, labels
    if recipe.mixup:
        share = float(np.random.default_rng(drawn).beta(recipe.mixup, recipe.mixup))
        images, other = share * images + (1 - share) * images.flip(0), labels.flip(0)
    with autocast(images, precision):
        answers = model(images)
    answers = answers.float()
    loss = _loss(answers, labels, recipe) * share
    if share < 1.0:
        loss = loss + _loss(answers, other, recipe) * (1 - share)
    if teacher is not None:
        with torch.no_grad():
            told = teacher(images).softmax(1)
        loss = 0.5 * loss + 0.5 * functional.cross_entropy(answers, told)
    return backward(model, optimizer, loss, clip_norm=recipe.clip_norm, scaler=scaler)


def autocast(images: Tensor, precision: Precision) -> torch.autocast:
    """In which convolutions of these images are computed in a precision."""
    lower = torch.float16 if precision == "float16" else torch.bfloat16
    return torch.autocast(images.device.type, lower, enabled=precision != "float32")


def backward(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Tensor,
    *,
    clip_norm: float,
    scaler: torch.amp.GradScaler,
) -> float:
    """Change the weights by the gradient of a loss; the loss.

    Args:
        model: whose weights the optimizer has.
        optimizer: of its weights.
        loss: of a batch.
        clip_norm: of the gradient; 0 does not clip.
        scaler: of the gradients.
    """
    optimizer.zero_grad(set_to_none=True)
    scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    if clip_norm:
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    scaler.step(optimizer)
    scaler.update()
    return float(loss.detach())


def _loss(answers: Tensor, labels: Tensor, recipe: Recipe) -> Tensor:
    return functional.cross_entropy(answers, labels, label_smoothing=recipe.label_smoothing)


class RunningMean:
    """Moves the running mean of a model's weights and of its batch norms' figures.

    Args:
        averaged: the mean; changed in place.
        model: what it is the mean of; its tensors have to stay where they are.
    """

    def __init__(self, averaged: nn.Module, model: nn.Module) -> None:
        mean, new = averaged.state_dict(), model.state_dict()  # made once: it takes longer than moving the mean
        real = [name for name, tensor in mean.items() if tensor.is_floating_point()]
        counts = [name for name in mean if name not in set(real)]
        self._mean, self._new = [mean[n] for n in real], [new[n] for n in real]
        self._mean_counts, self._new_counts = [mean[n] for n in counts], [new[n] for n in counts]

    @torch.no_grad()
    def move(self, decay: float) -> None:
        """One step towards the model; counts are taken over."""
        torch._foreach_lerp_(self._mean, self._new, 1 - decay)
        if self._mean_counts:  # networks without batch norm count nothing
            torch._foreach_copy_(self._mean_counts, self._new_counts)


def set_momentum(model: nn.Module, steps: int) -> None:
    """Let batch norm forget over a share of the steps at most."""
    least = min(1.0, 1 / (NORM_WINDOW * steps))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.momentum is not None and module.momentum < least:
            module.momentum = least


def set_dropout(model: nn.Module, share: float | None) -> None:
    """Drop this share before the classifier; None leaves the model's own."""
    if share is not None:
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = share
