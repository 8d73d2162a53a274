"""One step of an optimizer, with clipping and a check of the gradient."""

from __future__ import annotations

import math

import torch
from torch import nn

from mnv2search.training.learner import B, Learner
from mnv2search.training.progress import State


class NonFiniteGradientError(ArithmeticError):
    """A gradient is infinite or NaN, and no step was taken.

    Attributes:
        loss: loss of this process before the step.
    """

    def __init__(self, loss: float) -> None:
        super().__init__("a gradient is not finite")
        self.loss = loss


def gradient_step(
    learner: Learner[B],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: B,
    state: State,
    scaler: torch.amp.GradScaler,
) -> float:
    """Take one optimizer step, skipped if float16 gradients are not finite; returns the loss before the step.

    Several processes have the same gradient, so either all of them raise or none.

    Raises:
        NonFiniteGradientError: in bfloat16 or float32, the gradient is not finite.
    """
    if not model.training:
        model.train()
    optimizer.zero_grad(set_to_none=True)
    loss = learner.backward(model, batch, state, scaler)
    scaler.unscale_(optimizer)
    norm = nn.utils.clip_grad_norm_(model.parameters(), learner.recipe.clip_norm or math.inf)
    if not scaler.is_enabled() and not math.isfinite(float(norm)):
        raise NonFiniteGradientError(loss)
    scaler.step(optimizer)
    scaler.update()
    return loss
