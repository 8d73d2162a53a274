"""Loading of weights into a network, in its own and in published key layouts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from mnv2search.errors import UnknownNameError, WeightsError
from mnv2search.model.blocks import BoundLayer, SplitConv2d
from mnv2search.model.build import MobileNet
from mnv2search.model.weights.files import (
    StoredArray,
    checked_state_dict,
    read_weights_file,
    shortened,
    why_unreadable,
)
from mnv2search.model.weights.layouts import LAYOUTS, Layout, Names, detected_layout, foreign_names
from mnv2search.untrusted import UnsafeFileError

Arrays = Mapping[str, StoredArray]

# Keys under which training scripts wrap a state dict.
WRAPPERS = ("state_dict", "model")
NORM_TENSORS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
COUNTER = "num_batches_tracked"
SLIM_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
# Source: the slots that TensorFlow's optimisers and moving averages add to a checkpoint.
SLIM_SLOTS = ("ExponentialMovingAverage", "Momentum", "RMSProp", "RMSProp_1", "Adam", "Adam_1")
LISTED = 6
# Accepted types; quantized and complex values would change their meaning when converted.
FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """The layout of the names in the file, and the number of tensors that were loaded."""

    layout: str
    tensors: int


def load_weights(
    model: MobileNet,
    weights: Path | str | Arrays,
    *,
    layout: Layout | Literal["auto"] = "auto",
    source: Path | None = None,
) -> LoadReport:
    """Load weights into `model`; if they do not all fit, nothing is changed.

    Weights are a mapping of tensors or arrays, or a file of such a mapping: `.npz` for TensorFlow-slim's variables,
    `.safetensors`, or else a file of `torch.save`. Files are read without running code from them. `layout` is the
    naming scheme: `torchvision` (our own), `timm`, `efficientnet_pytorch` or `slim` (plain variables, not moving
    averages); `auto` detects it. Messages show the `source` of a mapping.

    Raises:
        WeightsError: the file cannot be read or has an unknown layout, names, shapes or types do not fit, or a weight
            is not finite; the message lists every problem.
    """
    if layout not in ("auto", *LAYOUTS):
        raise UnknownNameError("layout", layout, ("auto", *LAYOUTS))
    file = source if isinstance(weights, Mapping) else Path(weights)
    where = "the weights" if file is None else f"the weights of {file}"
    given = dict(weights) if isinstance(weights, Mapping) else read_state_dict(Path(weights))
    given = {name.removeprefix("module."): value for name, value in given.items()}
    used: Layout | None = detected_layout(given) if layout == "auto" else layout
    if used is None:
        some = _listed(list(given)) or "none"
        raise WeightsError(
            f"{where} follow no known layout; they are named {some}",
            hint=f"known layouts: {', '.join(LAYOUTS)}",
        )
    if used == "slim":
        given = dict(_slim_variables(given))
    sources = _sources(model, used, given)
    state = _checked_state(model, sources, given, where, slim=used == "slim")
    model.load_state_dict(state, strict=False)
    return LoadReport(layout=used, tensors=len(state))


def read_state_dict(path: Path) -> dict[str, StoredArray]:
    """The tensors or arrays of a weights file by name, also if a training script wrapped them.

    Raises:
        WeightsError: the file is missing, cannot be read, or contains something else.
    """
    try:
        found = read_weights_file(path)
    except FileNotFoundError:
        raise WeightsError(f"there is no file {path}", hint="check the path of the weights") from None
    except (OSError, UnsafeFileError) as error:
        raise WeightsError(
            f"{path} cannot be read as weights: {why_unreadable(error)}",
            hint="save a state dict with torch.save, or TensorFlow variables with numpy.savez",
        ) from error
    for wrapper in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
    return checked_state_dict(found, path)


def _slim_variables(given: Arrays) -> Iterator[tuple[str, StoredArray]]:
    """Variables by their names below ``MobilenetV2/``, without optimiser slots and variables of other networks."""
    for name, value in given.items():
        below = name.removesuffix(":0").rpartition("MobilenetV2/")
        if below[1] and below[2].rpartition("/")[2] not in SLIM_SLOTS:
            yield below[2], value


def _sources(model: MobileNet, layout: Layout, given: Arrays) -> dict[str, list[str]]:
    """For every tensor of the state dict, the names of its parts in the file."""
    if layout in ("mnv2search", "torchvision"):
        return {name: [name] for name in model.state_dict() if not (name.endswith(COUNTER) and name not in given)}
    names = foreign_names(model.plan, layout, given)
    prefixes = {id(module): name for name, module in model.named_modules()}
    sources: dict[str, list[str]] = {}
    for address, bound in model.bound():
        if address not in names:
            continue
        for name, keys in _layer_sources(bound, names[address], slim=layout == "slim"):
            module = bound.norm if name.startswith("norm.") else bound.conv
            ours = f"{prefixes[id(module)]}.{name.partition('.')[2]}"
            if not (name.endswith(COUNTER) and keys[0] not in given):
                sources[ours] = keys
    return sources


def _layer_sources(bound: BoundLayer, theirs: Names, *, slim: bool) -> Iterator[tuple[str, list[str]]]:
    """Pairs of our name, below `conv.` or `norm.`, and the names of the tensors that are concatenated for it."""
    parts = range(len(bound.layer.parts)) if slim else ()
    scopes = [f"{theirs.conv}_part_{part}" for part in parts] or [theirs.conv]
    for kind in ("weight", "bias") if bound.layer.bias else ("weight",):
        variable = f"/{_slim_variable(bound, kind)}" if slim else f".{kind}"
        keys = [f"{scope}{variable}" for scope in scopes]
        if isinstance(bound.conv, SplitConv2d):
            yield from ((f"conv.parts.{part}.{kind}", [key]) for part, key in enumerate(keys))
        else:
            yield f"conv.{kind}", keys
    if bound.norm is not None:
        yield from _norm_sources(bound.norm, theirs.norm, scopes if slim else [])


def _norm_sources(norm: nn.Module, theirs: str, slim_scopes: list[str]) -> Iterator[tuple[str, list[str]]]:
    is_batch = isinstance(norm, nn.BatchNorm2d)
    for kind in NORM_TENSORS if is_batch else NORM_TENSORS[:2]:
        if not slim_scopes:
            yield f"norm.{kind}", [f"{theirs}.{kind}"]
        elif kind != COUNTER:
            group = "BatchNorm" if is_batch else "GroupNorm"
            yield f"norm.{kind}", [f"{scope}/{group}/{SLIM_NORM[kind]}" for scope in slim_scopes]


def _slim_variable(bound: BoundLayer, kind: str) -> str:
    if kind == "bias":
        return "biases"
    return "depthwise_weights" if bound.layer.role == "depthwise" else "weights"


def _from_slim(tensor: Tensor, *, axes: int, depthwise: bool) -> Tensor:
    """A tensor with axes (height, width, in, out or multiplier) of TensorFlow, in PyTorch's order of axes."""
    if tensor.ndim != 4:
        return tensor
    if depthwise:
        return tensor.permute(2, 3, 0, 1).flatten(0, 1).unsqueeze(1)
    turned = tensor.permute(3, 2, 0, 1)
    return turned.flatten(1) if axes == 2 else turned


def _checked_state(
    model: MobileNet, sources: Mapping[str, list[str]], given: Arrays, where: str, *, slim: bool
) -> dict[str, Tensor]:
    """The new state dict; an error lists everything that does not fit."""
    state = model.state_dict()
    wanted = [key for keys in sources.values() for key in keys]
    unnamed = [f"{name} (no name there)" for name in state if name not in sources and not name.endswith(COUNTER)]
    misfits: dict[str, list[str]] = {
        "missing": unnamed + [key for key in wanted if key not in given],
        "unexpected": [key for key in given if key not in set(wanted)],
        "of another shape": [],
        "of another type": [],
        "with NaN or infinite values": [],
    }
    converted: dict[str, Tensor] = {}
    for name, keys in sources.items():
        if given.keys() >= set(keys):
            try:
                converted[name] = _converted(keys, given, name, like=state[name], slim=slim)
            except _MisfitError as error:
                misfits[error.kind].append(error.text)
    _refuse(misfits, f"{where} do not fit {model.spec.name}")
    return converted


def _refuse(misfits: Mapping[str, list[str]], what: str) -> None:
    found = {kind: names for kind, names in misfits.items() if names}
    problems = [f"{len(names)} {kind}: {_listed(names)}" for kind, names in found.items()]
    hint = "give weights that are finite float16, bfloat16, float32 or float64 numbers"
    if not found.keys().isdisjoint(("missing", "unexpected", "of another shape")):
        hint = "compare rows, width, last_channels, head and normalizer with those the weights were made for"
    if problems:
        raise WeightsError(f"{what}; {'; '.join(problems)}", hint=hint)


class _MisfitError(Exception):
    """A tensor of a file does not fit, with the kind of mismatch."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind, self.text = kind, text


def _converted(keys: list[str], given: Arrays, name: str, *, like: Tensor, slim: bool) -> Tensor:
    """One tensor with PyTorch's axes from its parts in a file.

    Raises:
        _MisfitError: the tensor has another type or shape, or is not finite.
    """
    first, *_ = keys
    tensors = [torch.as_tensor(given[key]) for key in keys]
    for tensor in tensors:
        if (kind := _unfit_kind(tensor, is_counter=name.endswith(COUNTER))) is not None:
            raise _MisfitError("of another type", f"{first} is {kind}")
    if slim:
        depthwise = first.endswith("depthwise_weights")
        tensors = [_from_slim(tensor, axes=like.ndim, depthwise=depthwise) for tensor in tensors]
    joined = tensors[0] if len(tensors) == 1 else torch.cat(tensors)
    if joined.shape != like.shape:
        raise _MisfitError("of another shape", f"{first} is {tuple(joined.shape)}, not {tuple(like.shape)}")
    if not joined.to(like.dtype).isfinite().all():
        raise _MisfitError("with NaN or infinite values", first)
    return joined


def _unfit_kind(tensor: Tensor, *, is_counter: bool) -> str | None:
    """The kind of a tensor if it is not allowed for weights, else None; a counter may have any real type."""
    if tensor.is_meta or tensor.layout is not torch.strided or tensor.is_quantized:
        return "without values (meta), sparse or quantized"
    if tensor.is_complex() or not (is_counter or tensor.dtype in FLOATING):
        return str(tensor.dtype).removeprefix("torch.")
    return None


def _listed(names: list[str]) -> str:
    return ", ".join(shortened(name) for name in names[:LISTED]) + (", …" if len(names) > LISTED else "")
