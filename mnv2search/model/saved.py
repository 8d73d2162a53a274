"""Networks with their weights, as files without code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mnv2search.errors import WeightsError
from mnv2search.model.build import MobileNet, build
from mnv2search.model.programs import SUFFIX, read_program
from mnv2search.model.weights import UNREADABLE, load_weights, why_unreadable
from mnv2search.spec.codec import dumps, loads
from mnv2search.spec.model_spec import ModelSpec

__all__ = ["FORMAT", "Learned", "learned_beside", "read_learned", "read_network", "read_spec", "told_of"]

FORMAT = 1
GIVE = "give the best.pt of a training, or a .pt or .pt2 file of `mnv2search compile SPEC --weights FILE -o NET.pt`"


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
        WeightsError: the file cannot be read, holds something else, or was written by a later version.
    """
    content = _content(path)
    model = build(_spec_of(content, path), seed=0)
    load_weights(model, content["state_dict"])
    return model.eval()


def read_spec(path: Path) -> ModelSpec:
    """The spec in such a file; nothing is built.

    Raises:
        WeightsError: as `read_network`.
    """
    return _spec_of(_content(path), path)


def read_learned(path: Path) -> Learned | None:
    """What goes with the weights of such a file; None where it does not say.

    Raises:
        WeightsError: as `read_network`.
    """
    told = _content(path).get("learned")
    try:
        return None if told is None else Learned(classes=tuple(told["classes"]), normalization=told["normalization"])
    except (TypeError, LookupError) as error:
        raise WeightsError(f"{path} says nothing of use of what it learned", hint="write the file anew") from error


def learned_beside(weights: Path | None) -> Learned | None:
    """What a file of weights says of what was learned; None where it says nothing, as the files of others."""
    if weights is None or weights.suffix not in (".pt", SUFFIX):
        return None
    try:
        return read_learned(weights)
    except WeightsError:
        return None


def told_of(spec: ModelSpec, learned: Learned | None) -> dict[str, Any]:
    """What a file holds besides the weights."""
    told: dict[str, Any] = {"mnv2search": FORMAT, "spec": dumps(spec)}
    if learned is not None:
        told["learned"] = {"classes": list(learned.classes), "normalization": learned.normalization}
    return told


def _spec_of(content: Mapping[str, Any], path: Path) -> ModelSpec:
    spec = loads(content["spec"], file=str(path))
    if not isinstance(spec, ModelSpec):
        raise WeightsError(f"the spec in {path} is a search space", hint="write the file anew from a spec")
    return spec


def _content(path: Path) -> Mapping[str, Any]:
    if path.suffix in (".yaml", ".yml"):
        raise WeightsError(f"{path} is a spec without weights", hint=GIVE)
    try:
        content: Any
        if path.suffix == SUFFIX:
            content = read_program(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except WeightsError:
        raise  # it says already what the matter is
    except UNREADABLE as error:
        raise WeightsError(f"{path} cannot be read as a network: {why_unreadable(path, error)}", hint=GIVE) from error
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path} holds no network but {type(content).__name__}", hint=GIVE)
    if "mnv2search_checkpoint" in content:
        raise WeightsError(
            f"{path} is a checkpoint, from which a training goes on, and no network",
            hint="give the best.pt beside it, which a training writes after every epoch that does better",
        )
    if "mnv2search" not in content:
        raise WeightsError(f"{path} holds no spec beside its weights", hint=GIVE)
    if content["mnv2search"] != FORMAT:
        raise WeightsError(
            f"{path} is of format {content['mnv2search']}, and {FORMAT} is known",
            hint="write it anew with this version",
        )
    return content
