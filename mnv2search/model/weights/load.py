"""Weights into a network, under its own and under published key layouts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mnv2search.errors import UnknownNameError, WeightsError
from mnv2search.model.blocks import BoundLayer, SplitConv2d
from mnv2search.model.build import MobileNet
from mnv2search.model.weights.files import checked_state_dict, read_weights_file, shortened, why_unreadable
from mnv2search.model.weights.layouts import LAYOUTS, Layout, Names, detected_layout, foreign_names
from mnv2search.untrusted import UnsafeFileError

__all__ = ["LoadReport", "load_weights"]

Arrays = Mapping[str, Tensor | NDArray[Any]]

# Keys under which training scripts wrap a state dict.
WRAPPERS = ("state_dict", "model")
NORM_TENSORS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
COUNTER = "num_batches_tracked"
SLIM_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
# Source: slots that TensorFlow's optimisers and moving averages leave in a checkpoint beside the variables.
SLIM_SLOTS = ("ExponentialMovingAverage", "Momentum", "RMSProp", "RMSProp_1", "Adam", "Adam_1")
LISTED = 6
# Accepted types; quantized and complex values would change their meaning when converted.
FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """What was loaded.

    Attributes:
        layout: whose names the file used.
        tensors: how many were loaded.
    """

    layout: str
    tensors: int


def load_weights(
    model: MobileNet,
    weights: Path | str | Arrays,
    *,
    layout: Layout | Literal["auto"] = "auto",
    source: Path | None = None,
) -> LoadReport:
    """Fills `model` with weights; either all of them fit, or nothing is changed.

    Args:
        model: the network; its spec must be that of the weights.
        weights: a mapping of tensors or arrays, or a file of one: `.npz` for TensorFlow-slim's variables,
            `.safetensors`, else what `torch.save` wrote. Files are read without running code from them.
        layout: whose names the weights use: `torchvision` (our own), `timm`, `efficientnet_pytorch` or `slim`, of
            which the plain variables are read, not their moving averages; `auto` looks at the names.
        source: file that a mapping was read from, shown in messages.

    Raises:
        WeightsError: the file cannot be read or follows no known layout, or names, shapes or types do not fit, or a
            weight is not finite; the message lists each of these.
    """
    if layout not in ("auto", *LAYOUTS):
        raise UnknownNameError("layout", layout, ("auto", *LAYOUTS))
    file = source if isinstance(weights, Mapping) else Path(weights)
    where = "the weights" if file is None else f"the weights of {file}"
    given = dict(weights) if isinstance(weights, Mapping) else _read(Path(weights))
    given = {name.removeprefix("module."): value for name, value in given.items()}
    used: Layout | None = detected_layout(given) if layout == "auto" else layout
    if used is None:
        some = _listed(list(given)) or "none"
        raise WeightsError(
            f"{where} follow no layout that is known; they are named {some}",
            hint=f"known layouts: {', '.join(LAYOUTS)}",
        )
    if used == "slim":
        given = dict(_slim_variables(given))
    sources = _sources(model, used, given)
    state = _checked_state(model, sources, given, where, slim=used == "slim")
    model.load_state_dict(state, strict=False)
    return LoadReport(layout=used, tensors=len(state))


def _read(path: Path) -> dict[str, Tensor | NDArray[Any]]:
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


def _slim_variables(given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Variables by their names below ``MobilenetV2/``, without optimiser slots and what belongs to other networks."""
    for name, value in given.items():
        below = name.removesuffix(":0").rpartition("MobilenetV2/")
        if below[1] and below[2].rpartition("/")[2] not in SLIM_SLOTS:
            yield below[2], value


def _sources(model: MobileNet, layout: Layout, given: Mapping[str, Any]) -> dict[str, list[str]]:
    """For every tensor of the state dict, the names in the file that it is put together from."""
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
    """Pairs of our name, below `conv.` or `norm.`, and the names of the tensors that are joined to make it."""
    conv, norm = theirs
    scopes = (
        [f"{conv}_part_{part}" for part in range(len(bound.layer.parts))] if slim and bound.layer.parts else [conv]
    )
    depthwise = bound.layer.role == "depthwise"
    for kind in ("weight", "bias") if bound.layer.bias else ("weight",):
        variable = (
            kind if not slim else "biases" if kind == "bias" else "depthwise_weights" if depthwise else "weights"
        )
        separator = "/" if slim else "."
        keys = [f"{scope}{separator}{variable}" for scope in scopes]
        if isinstance(bound.conv, SplitConv2d):
            yield from ((f"conv.parts.{part}.{kind}", [key]) for part, key in enumerate(keys))
        else:
            yield f"conv.{kind}", keys
    if bound.norm is None:
        return
    batch = isinstance(bound.norm, nn.BatchNorm2d)
    for kind in NORM_TENSORS if batch else NORM_TENSORS[:2]:
        if not slim:
            yield f"norm.{kind}", [f"{norm}.{kind}"]
        elif kind != COUNTER:
            group = "BatchNorm" if batch else "GroupNorm"
            yield f"norm.{kind}", [f"{scope}/{group}/{SLIM_NORM[kind]}" for scope in scopes]


def _joined(parts: list[Tensor | NDArray[Any]], *, like: Tensor, depthwise: bool, slim: bool) -> Tensor:
    """One tensor of PyTorch's axes from the parts of a file."""
    tensors = [torch.as_tensor(part) for part in parts]
    if slim:
        tensors = [_from_slim(tensor, axes=like.ndim, depthwise=depthwise) for tensor in tensors]
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors)


def _from_slim(tensor: Tensor, *, axes: int, depthwise: bool) -> Tensor:
    """TensorFlow's axes (height, width, in, out), for a depthwise (height, width, in, multiplier), as PyTorch's."""
    if tensor.ndim != 4:
        return tensor
    if depthwise:
        return tensor.permute(2, 3, 0, 1).flatten(0, 1).unsqueeze(1)
    turned = tensor.permute(3, 2, 0, 1)
    return turned.flatten(1) if axes == 2 else turned


def _checked_state(
    model: MobileNet, sources: Mapping[str, list[str]], given: Mapping[str, Any], where: str, *, slim: bool
) -> dict[str, Tensor]:
    """The new state dict; an error names everything that does not fit."""
    state = model.state_dict()
    missing = [f"{name} (no name there)" for name in state if name not in sources and not name.endswith(COUNTER)]
    missing += [key for keys in sources.values() for key in keys if key not in given]
    asked = {key for keys in sources.values() for key in keys}
    unexpected = [key for key in given if key not in asked]
    misshaped: list[str] = []
    mistyped: list[str] = []
    infinite: list[str] = []
    converted: dict[str, Tensor] = {}
    for name, keys in sources.items():
        if not all(key in given for key in keys):
            continue
        if (kind := _unfit_kind([given[key] for key in keys], counts=name.endswith(COUNTER))) is not None:
            mistyped.append(f"{keys[0]} is {kind}")
            continue
        depthwise = keys[0].endswith("depthwise_weights")
        tensor = _joined([given[key] for key in keys], like=state[name], depthwise=depthwise, slim=slim)
        if tensor.shape != state[name].shape:
            misshaped.append(f"{keys[0]} is {tuple(tensor.shape)}, not {tuple(state[name].shape)}")
        elif not tensor.to(state[name].dtype).isfinite().all():
            infinite.append(keys[0])
        else:
            converted[name] = tensor
    other_network = (("missing", missing), ("unexpected", unexpected), ("of another shape", misshaped))
    other_values = (("of another type", mistyped), ("with NaN or infinite values", infinite))
    problems = [f"{len(found)} {kind}: {_listed(found)}" for kind, found in (*other_network, *other_values) if found]
    if problems:
        raise WeightsError(
            f"{where} do not fit {model.spec.name}; {'; '.join(problems)}",
            hint="compare rows, width, last_channels, head and normalizer with those the weights were made for"
            if any(found for _, found in other_network)
            else "give weights that are finite float16, bfloat16, float32 or float64 numbers",
        )
    return converted


def _unfit_kind(parts: list[Tensor | NDArray[Any]], *, counts: bool) -> str | None:
    """The kind of a tensor if weights may not have it, otherwise none; a counter may have any real type."""
    for part in (given if isinstance(given, Tensor) else torch.as_tensor(given) for given in parts):
        if part.is_meta or part.layout is not torch.strided or part.is_quantized:
            return "without values (meta), sparse or quantized"
        if part.is_complex() or not (counts or part.dtype in FLOATING):
            return str(part.dtype).removeprefix("torch.")
    return None


def _listed(names: list[str]) -> str:
    return ", ".join(shortened(name) for name in names[:LISTED]) + (", …" if len(names) > LISTED else "")
