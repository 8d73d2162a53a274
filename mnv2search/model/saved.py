"""Networks with their weights, as files without code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mnv2search.errors import ExportError
from mnv2search.model.build import MobileNet, build
from mnv2search.model.programs import SUFFIX, read_program
from mnv2search.model.weights import UNREADABLE, load_weights
from mnv2search.spec.codec import dumps, loads
from mnv2search.spec.model_spec import ModelSpec

__all__ = ["FORMAT", "Learned", "learned_beside", "read_learned", "read_network", "told_of"]

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What goes with trained weights.

    Attributes:
        classes: names, in the order of their numbers.
        normalization: of the images that the network learned from.
    """

    classes: tuple[str, ...]
    normalization: str


def read_network(path: Path) -> MobileNet:
    """The network of a `.pt` or `.pt2` file that an exporter of ours or a training wrote, in evaluation mode.

    Raises:
        ExportError: the file cannot be read, holds something else, or was written by a later version.
    """
    content = _content(path)
    spec = loads(content["spec"], file=str(path))
    if not isinstance(spec, ModelSpec):
        raise ExportError(f"the spec in {path} is a search space", hint="write the file anew from a spec")
    model = build(spec, seed=0)
    load_weights(model, content["state_dict"])
    return model.eval()


def read_learned(path: Path) -> Learned | None:
    """What goes with the weights of such a file; None where it does not say.

    Raises:
        ExportError: as `read_network`.
    """
    told = _content(path).get("learned")
    try:
        return None if told is None else Learned(classes=tuple(told["classes"]), normalization=told["normalization"])
    except (TypeError, LookupError) as error:
        raise ExportError(f"{path} says nothing of use of what it learned", hint="write the file anew") from error


def learned_beside(weights: Path | None) -> Learned | None:
    """What a file of weights says of what was learned; None where it says nothing, as the files of others."""
    if weights is None or weights.suffix not in (".pt", SUFFIX):
        return None
    try:
        return read_learned(weights)
    except ExportError:
        return None


def told_of(spec: ModelSpec, learned: Learned | None) -> dict[str, Any]:
    """What a file holds besides the weights."""
    told: dict[str, Any] = {"mnv2search": FORMAT, "spec": dumps(spec)}
    if learned is not None:
        told["learned"] = {"classes": list(learned.classes), "normalization": learned.normalization}
    return told


def _content(path: Path) -> Mapping[str, Any]:
    try:
        content: Any
        if path.suffix == SUFFIX:
            content = read_program(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ExportError(
            f"{path} cannot be read as a network: {why}", hint="give a .pt or .pt2 file of ours"
        ) from error
    if not isinstance(content, Mapping) or content.get("mnv2search") != FORMAT:
        raise ExportError(
            f"{path} is no network of format {FORMAT}", hint="write one with `mnv2search compile SPEC -o NET.pt`"
        )
    return content
