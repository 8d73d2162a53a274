"""Optimizers, learning rate schedules, and running means of weights (EMA) of a recipe."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.optimizer import ParamsT

from mnv2search.model.elastic import SharedWeights
from mnv2search.recipe import Recipe


class RmsPropTf(Optimizer):
    """TensorFlow's RMSProp, for which slim's learning rates and epsilon of 1.0 are chosen.

    Unlike in torch, epsilon is inside the square root, the mean of squares starts at 1, and the learning rate is part
    of the momentum. Weight decay is added to the gradient.

    Source: tensorflow/core/kernels/training_ops.cc, ApplyRMSProp.
    """

    def __init__(
        self, groups: ParamsT, *, lr: float, decay: float, momentum: float, eps: float, weight_decay: float = 0.0
    ) -> None:
        super().__init__(
            groups, {"lr": lr, "decay": decay, "momentum": momentum, "eps": eps, "weight_decay": weight_decay}
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step; `closure`, if given, recomputes the loss."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)
        return loss

    def _update(self, parameter: Tensor, group: Mapping[str, float]) -> None:
        gradient = parameter.grad
        assert gradient is not None
        state = self.state[parameter]
        if not state:
            state["mean_square"] = torch.ones_like(parameter)
            state["moment"] = torch.zeros_like(parameter)
        if group["weight_decay"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        state["mean_square"].mul_(group["decay"]).addcmul_(gradient, gradient, value=1 - group["decay"])
        root = state["mean_square"].add(group["eps"]).sqrt_()
        state["moment"].mul_(group["momentum"]).addcdiv_(gradient, root, value=group["lr"])
        parameter.sub_(state["moment"])


def optimizer_of(model: nn.Module, recipe: Recipe) -> Optimizer:
    """The recipe's optimizer with two parameter groups: weights with weight decay, and all others."""
    decaying = [p for kind, p in _weights(model) if kind == "weight" and p.ndim > 1]
    kept = {id(p) for p in decaying}
    groups = [
        {"params": decaying, "weight_decay": recipe.weight_decay},
        {"params": [p for p in model.parameters() if id(p) not in kept], "weight_decay": 0.0},
    ]
    if recipe.optimizer == "sgd":
        return SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0)
    if recipe.optimizer == "adamw":
        return AdamW(groups, lr=recipe.lr, eps=recipe.epsilon)
    return RmsPropTf(groups, lr=recipe.lr, decay=recipe.rms_decay, momentum=recipe.momentum, eps=recipe.epsilon)


def learning_rate(recipe: Recipe, *, step: int, steps: int, epoch_steps: float, batch: int) -> float:
    """The learning rate of a step, counted from 0.

    >>> recipe = Recipe(lr=0.2, lr_batch=64, batch=64, schedule="cosine")
    >>> [round(learning_rate(recipe, step=s, steps=10, epoch_steps=5, batch=64), 3) for s in (0, 5)]
    [0.2, 0.1]
    """
    highest = recipe.lr * batch / recipe.lr_batch
    # the warm-up takes at most a fifth of the training
    rising = min(recipe.warmup_epochs * epoch_steps, steps / 5)
    if step < rising:
        return highest * (step + 1) / (rising + 1)
    if recipe.schedule == "exponential":
        return float(highest * recipe.decay_rate ** math.floor((step - rising) / (recipe.decay_epochs * epoch_steps)))
    return highest * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(steps - rising, 1)))


def _weights(model: nn.Module) -> Iterable[tuple[str, nn.Parameter]]:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            # Source: slim's training_scope: the regularizer of depthwise weights is None.
            kind = "depthwise" if module.groups > 1 and module.groups == module.in_channels else "weight"
            yield kind, cast(nn.Parameter, module.weight)
        elif isinstance(module, nn.Linear):
            yield "weight", cast(nn.Parameter, module.weight)
        elif isinstance(module, SharedWeights):
            yield "depthwise" if module.depthwise else "weight", module.weight


# Largest window of batch norm's running statistics, as a share of the steps: with slim's momentum of 0.003, a
# training of a few hundred steps would be evaluated with the statistics of its beginning.
NORM_WINDOW = 0.05


class RunningMean:
    """The running mean (EMA) of a model's weights and batch norm statistics.

    The mean is updated in place; the tensors of the model must not be replaced.
    """

    def __init__(self, averaged: nn.Module, model: nn.Module) -> None:
        mean, new = averaged.state_dict(), model.state_dict()  # made once, since this takes longer than an update
        real = [name for name, tensor in mean.items() if tensor.is_floating_point()]
        counts = [name for name in mean if name not in set(real)]
        self._mean, self._new = [mean[n] for n in real], [new[n] for n in real]
        self._mean_counts, self._new_counts = [mean[n] for n in counts], [new[n] for n in counts]

    @torch.no_grad()
    def move(self, decay: float) -> None:
        """Move the mean one step towards the model; counts are copied."""
        torch._foreach_lerp_(self._mean, self._new, 1 - decay)
        if self._mean_counts:  # empty without batch norm
            torch._foreach_copy_(self._mean_counts, self._new_counts)


def set_momentum(model: nn.Module, steps: int) -> None:
    """Raise the momentum of batch norm so that its window is at most `NORM_WINDOW` of the steps."""
    least = min(1.0, 1 / (NORM_WINDOW * steps))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.momentum is not None and module.momentum < least:
            module.momentum = least


def set_dropout(model: nn.Module, share: float | None) -> None:
    """Set the dropout probability before the classifier; None keeps that of the model."""
    if share is not None:
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = share
