"""Checkpoints: all that a training needs to go on, in a file without code."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from mnv2search.errors import TrainingError
from mnv2search.model.build import MobileNet
from mnv2search.model.saved import Learned, told_of
from mnv2search.model.weights import UNREADABLE, why_unreadable

__all__ = ["Checkpoint", "read_checkpoint", "write_checkpoint", "write_network", "write_whole"]

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A training between two steps.

    Attributes:
        job: what is trained and how; a checkpoint fits no other.
        step: steps done.
        steps: of the whole; 0 where that is not known yet.
        running_loss: mean of the last losses.
        best: figures of the best evaluation, as the course writes them, or None before the first.
        best_step: after which it was.
        model: state dict.
        averaged: state dict of the running mean of the weights, or None.
        optimizer: state dict.
        half: whether convolutions are computed in half precision.
        half_type: in which one.
        scaler: state dict of the gradients' scale, which float16 needs; None elsewhere.
        every: steps from one evaluation to the next; 0 where the length of an epoch tells.
        is_unjudged: the evaluation that is due after the last step was not made.
        time_s: that was asked for in place of epochs, or None.
        seconds: of the training so far, over all processes that made it.
        images_per_s: of the training, in the process that wrote this.
    """

    job: dict[str, Any]
    step: int
    steps: int
    running_loss: float
    best: tuple[Any, ...] | None
    best_step: int
    model: dict[str, Any]
    averaged: dict[str, Any] | None
    optimizer: dict[str, Any]
    half: bool
    half_type: str = "bfloat16"
    scaler: dict[str, Any] | None = None
    every: int = 0
    is_unjudged: bool = False
    time_s: float | None = None
    seconds: float = 0.0
    images_per_s: float = 0.0


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write it whole or not at all.

    Raises:
        TrainingError: the disk does not take it; the last one is left as it was.
    """
    content = {field.name: getattr(checkpoint, field.name) for field in fields(checkpoint)}
    _write(path, {"mnv2search_checkpoint": FORMAT, **content})


def write_network(path: Path, model: torch.nn.Module, *, learned: Learned | None = None) -> None:
    """Write a network's weights and its spec, as `mnv2search compile -o NET.pt` does.

    Args:
        path: of the file.
        model: the network.
        learned: what goes with its weights.

    Raises:
        TrainingError: the disk does not take it.
    """
    assert isinstance(model, MobileNet)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    _write(path, {**told_of(model.spec, learned), "state_dict": state})


def read_checkpoint(path: Path) -> Checkpoint | None:
    """The checkpoint of a file, or None where there is no file.

    Raises:
        TrainingError: the file holds something else.
    """
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise TrainingError(
            f"{path} cannot be read: {why_unreadable(path, error)}", hint="remove it to begin anew"
        ) from error
    if not isinstance(content, dict) or content.pop("mnv2search_checkpoint", None) != FORMAT:
        raise TrainingError(f"{path} is no checkpoint of format {FORMAT}", hint="remove it to begin anew")
    try:
        return Checkpoint(**content)
    except TypeError as error:
        raise TrainingError(f"{path} is no whole checkpoint", hint="remove it to begin anew") from error


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        TrainingError: the disk does not take it.
    """
    _placed(path, lambda beside: beside.write_bytes(data))


def _write(path: Path, content: dict[str, Any]) -> None:
    _placed(path, lambda beside: torch.save(content, beside))


def _placed(path: Path, write: Callable[[Path], object]) -> None:
    beside = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(beside)
        beside.replace(path)
    except (OSError, RuntimeError) as error:
        raise TrainingError(
            f"{path} cannot be written: {str(error).splitlines()[0]}",
            hint="make room, and run the same command again",
        ) from error
    finally:
        beside.unlink(missing_ok=True)
