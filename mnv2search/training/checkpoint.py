"""Checkpoints, from which a training resumes; loading one runs no code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from types import UnionType
from typing import TypeVar, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

from mnv2search.atomic import replacing
from mnv2search.errors import TrainingError
from mnv2search.model.build import MobileNet
from mnv2search.model.weights.files import read_weights_file, why_unreadable
from mnv2search.model.weights.network_file import Learned, told_of, torch_bytes
from mnv2search.untrusted import UnsafeFileError, json_as, read_bytes

T = TypeVar("T")
FORMAT = 1
MAX_JSON_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A training between two steps; other fields are described in `State`.

    Attributes:
        job: identity of the training; no other training can resume from this checkpoint.
        best: metrics of the best evaluation as a tuple, or None before the first.
        averaged: state dict of the running mean of the weights (EMA), or None.
        half: whether convolutions are computed in half precision.
        scaler: state dict of the gradient scaler in float16; otherwise None.
        good: the last good state, to go back to if the training diverges; None if it is that of this checkpoint.
    """

    job: dict[str, object]
    step: int
    steps: int
    running_loss: float
    best: tuple[object, ...] | None
    best_step: int
    model: dict[str, Tensor]
    averaged: dict[str, Tensor] | None
    optimizer: dict[str, object]
    half: bool
    half_type: str = "bfloat16"
    scaler: dict[str, object] | None = None
    every: int = 0
    is_unjudged: bool = False
    time_s: float | None = None
    seconds: float = 0.0
    images_per_s: float = 0.0
    reductions: int = 0
    improved_step: int = 0
    is_stopped_early: bool = False
    good: dict[str, object] | None = None


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically; if that fails, the previous checkpoint is kept and `TrainingError` is raised."""
    content = {field.name: getattr(checkpoint, field.name) for field in fields(checkpoint)}
    write_whole(path, torch_bytes({"mnv2search_checkpoint": FORMAT, **content}))


def write_network(path: Path, model: torch.nn.Module, *, learned: Learned | None = None) -> None:
    """Write weights and spec of a network, as `mnv2search compile -o NET.pt`; raises `TrainingError` on failure."""
    assert isinstance(model, MobileNet)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_whole(path, torch_bytes({**told_of(model.spec, learned), "state_dict": state}))


def read_checkpoint(path: Path) -> Checkpoint | None:
    """Read a checkpoint; returns None if the file is missing, raises `TrainingError` if it cannot be read."""
    if not path.exists():
        return None
    try:
        content = read_weights_file(path)
    except (OSError, UnsafeFileError) as error:
        raise _unusable(f"{path} cannot be read: {why_unreadable(error)}") from error
    if not isinstance(content, dict) or content.pop("mnv2search_checkpoint", None) != FORMAT:
        raise _unusable(f"{path} is not a checkpoint of format {FORMAT}")
    hints = get_type_hints(Checkpoint)
    wrong = [str(name) for name, value in content.items() if name not in hints or not _fits(value, hints[name])]
    if wrong:
        raise _unusable(f"{path} is not a valid checkpoint: its {wrong[0]:.100} is unusable")
    try:
        return Checkpoint(**content)
    except TypeError as error:
        raise _unusable(f"{path} is an incomplete checkpoint") from error


@contextmanager
def restoring(path: Path) -> Iterator[None]:
    """Raise errors of loading a checkpoint into a model and an optimizer as `TrainingError`."""
    try:
        yield
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise _unusable(f"{path} does not match this training") from error


def _unusable(what: str) -> TrainingError:
    return TrainingError(what, hint="remove it to start over")


def _fits(value: object, hint: object) -> bool:
    """Whether a value has the annotated type of a field; the types of items are not checked."""
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    return any(type(value) in ((float, int) if kind is float else (get_origin(kind) or kind,)) for kind in kinds)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file atomically; raises `TrainingError` on failure."""
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(data)
    except (OSError, RuntimeError) as error:
        raise TrainingError(
            f"{path} cannot be written: {str(error).splitlines()[0]}",
            hint="free some space, and run the same command again",
        ) from error


def read_json(kind: type[T], path: Path) -> T | None:
    """Read a small JSON file; returns None if it is missing, raises `TrainingError` if it cannot be read."""
    if not path.exists():
        return None
    try:
        return json_as(kind, read_bytes(path, max_bytes=MAX_JSON_BYTES))
    except (OSError, UnsafeFileError) as error:
        raise _unusable(f"{path} cannot be read: {error}") from error
