"""The last good state of a training, to which it returns at a lower learning rate when it diverges."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from mnv2search.errors import TrainingError

# The learning rate is multiplied by this factor when a training diverges, at most so many times.
LR_FACTOR = 0.5
MOST_REDUCTIONS = 5
# A state is good if the running mean of the loss has grown by at most `MOST_GROWTH` since the last good state. A
# training has diverged if this mean has grown by more than `DIVERGED_GROWTH`, and exceeds `LEAST_LOSS` by the same
# factor: fine-tuning begins with small losses, which may rise.
MOST_GROWTH, DIVERGED_GROWTH, LEAST_LOSS = 2.0, 10.0, 1.0


class DivergedError(TrainingError):
    """The loss, a gradient or a weight of a training is infinite or NaN, or the loss has become far too large."""

    def __init__(self, what: str) -> None:
        super().__init__(
            what,
            hint="lower the learning rate (lr) of the recipe, clip the gradient (clip_norm), or take other weights",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GoodState:
    """A copy of everything that steps of a training change, without `averaged` if no mean of weights is kept."""

    step: int
    running_loss: float
    model: Mapping[str, Tensor]
    averaged: Mapping[str, Tensor] | None
    optimizer: Mapping[str, object]

    @classmethod
    def of(
        cls,
        step: int,
        running_loss: float,
        model: nn.Module,
        averaged: nn.Module | None,
        optimizer: torch.optim.Optimizer,
    ) -> GoodState:
        """A copy of the present state."""
        return cls(
            step=step,
            running_loss=running_loss,
            model=copy.deepcopy(model.state_dict()),
            averaged=None if averaged is None else copy.deepcopy(averaged.state_dict()),
            optimizer=copy.deepcopy(optimizer.state_dict()),
        )

    def restore(self, model: nn.Module, averaged: nn.Module | None, optimizer: torch.optim.Optimizer) -> None:
        """Copy the weights and the state of the optimizer back, in place."""
        model.load_state_dict(self.model)
        if averaged is not None and self.averaged is not None:
            averaged.load_state_dict(self.averaged)
        optimizer.load_state_dict(copy.deepcopy(dict(self.optimizer)))  # it would share tensors, and change them

    def allows(self, running_loss: float) -> bool:
        """Whether a later state with this running mean of the loss is good too.

        >>> GoodState(step=0, running_loss=1.5, model={}, averaged=None, optimizer={}).allows(3.5)
        False
        """
        return not running_loss > MOST_GROWTH * self.running_loss

    def check(self, step: int, running_loss: float, weights: Iterable[Tensor]) -> None:
        """Check a later state.

        Raises:
            DivergedError: a weight is not finite, or the running mean of the loss is far larger than in this state.
        """
        if running_loss > DIVERGED_GROWTH * max(LEAST_LOSS, self.running_loss):
            raise DivergedError(
                f"the loss rose from {self.running_loss:.3g} to {running_loss:.0f} before step {step}"
            )
        if not is_finite(weights):
            raise DivergedError(f"a weight after step {step} is not finite")

    def stored(self) -> dict[str, object]:
        """The state as a dictionary, for checkpoints."""
        return {name: getattr(self, name) for name in self.__slots__}


def good_state_of(stored: Mapping[str, object]) -> GoodState:
    """The state of a dictionary from `GoodState.stored`.

    Raises:
        TypeError: the dictionary has other keys.
    """
    return GoodState(**stored)  # type: ignore[arg-type]


def is_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether all real numbers of some tensors are finite.

    >>> is_finite([torch.ones(2), torch.tensor([1.0, float("nan")])])
    False
    """
    real = [tensor for tensor in tensors if tensor.is_floating_point()]
    norms = cast("list[Tensor]", torch._foreach_norm(real, float("inf"))) if real else []
    return not norms or bool(torch.stack(norms).isfinite().all())
