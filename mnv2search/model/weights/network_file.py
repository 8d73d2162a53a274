"""Files of networks with their weights, without code."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import torch
from msgspec import Meta, ValidationError, convert

from mnv2search.cost import cost_of
from mnv2search.errors import WeightsError
from mnv2search.model.build import MobileNet, build
from mnv2search.model.weights.files import checked_state_dict, read_weights_file, why_unreadable
from mnv2search.model.weights.load import load_weights
from mnv2search.model.weights.programs import SUFFIX
from mnv2search.recipe import NORMALIZATIONS
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import plan
from mnv2search.spec.yaml.codec import dumps, loads
from mnv2search.untrusted import UnsafeFileError

FORMAT = 1
GIVE = "give the best.pt of a training, or a .pt or .pt2 file of `mnv2search compile SPEC --weights FILE -o NET.pt`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """Metadata of trained weights: the classes by index, and how evaluations preprocess images.

    Attributes:
        normalization: name of one of `mnv2search.recipe.NORMALIZATIONS`.
        crop: share of an image's short side that the center crop keeps, 1 for no crop; None for tasks that resize
            the whole image, and if it is unknown.
        score: score threshold of a detector with the best F1 on the validation images; None if unknown.
    """

    classes: tuple[str, ...]
    normalization: str
    crop: float | None = None
    score: Annotated[float, Meta(ge=0, le=1)] | None = None


def read_network(path: Path) -> MobileNet:
    """The network in a `.pt` or `.pt2` file, written by our exporters or a training, in evaluation mode.

    Raises:
        WeightsError: the file cannot be read, contains something else, or was written by a later version.
    """
    content = _content(path)
    state = checked_state_dict(content.get("state_dict"), path)
    laid_out = plan(_spec_of(content, path))
    name, params = laid_out.spec.name, cost_of(laid_out).params
    held = sum(math.prod(tensor.shape) for tensor in state.values())
    if params > held:  # before building a network that may be much larger than the file
        raise WeightsError(
            f"the weights of {path} do not fit {name}, which has {params:,} parameters: the file has {held:,}",
            hint=GIVE,
        )
    model = build(laid_out, seed=0)
    load_weights(model, state, source=path)
    return model.eval()


def read_spec(path: Path) -> ModelSpec:
    """The spec in such a file, without building the network.

    Raises:
        WeightsError: as for `read_network`.
    """
    return _spec_of(_content(path), path)


def read_learned(path: Path) -> Learned | None:
    """The metadata of the weights in such a file; None if it has none.

    Raises:
        WeightsError: as for `read_network`.
    """
    told = _content(path).get("learned")
    if told is None:
        return None
    with suppress(ValidationError):
        learned = convert(told, Learned)
        if learned.normalization in NORMALIZATIONS and (learned.crop is None or 0 < learned.crop <= 1):
            return learned
    raise WeightsError(
        f"{path} does not say which classes its network knows, or how its images are preprocessed",
        hint="write the file again",
    )


def learned_beside(weights: Path | None) -> Learned | None:
    """The metadata in a weights file; None without metadata, as in files of other programs."""
    if weights is None or weights.suffix not in (".pt", SUFFIX):
        return None
    try:
        return read_learned(weights)
    except WeightsError:
        return None


def told_of(spec: ModelSpec, learned: Learned | None) -> dict[str, object]:
    """The content of a file besides the weights."""
    told: dict[str, object] = {"mnv2search": FORMAT, "spec": dumps(spec)}
    if learned is not None:
        told["learned"] = {**asdict(learned), "classes": list(learned.classes)}
    return told


def torch_bytes(content: Mapping[str, object]) -> bytes:
    """The bytes of `torch.save`, which would hide the cause of an error if it wrote to a full disk itself."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _spec_of(content: Mapping[str, object], path: Path) -> ModelSpec:
    text = content.get("spec")
    if not isinstance(text, str):
        raise WeightsError(f"the spec in {path} is {type(text).__name__}, not text", hint=GIVE)
    spec = loads(text, file=str(path))
    if not isinstance(spec, ModelSpec):
        raise WeightsError(f"the spec in {path} is a search space", hint="write the file again from a spec")
    return spec


def _content(path: Path) -> Mapping[str, object]:
    if path.suffix in (".yaml", ".yml"):
        raise WeightsError(f"{path} is a spec without weights", hint=GIVE)
    try:
        content = read_weights_file(path)
    except (OSError, UnsafeFileError) as error:
        raise WeightsError(f"{path} cannot be read as a network: {why_unreadable(error)}", hint=GIVE) from error
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path} contains {type(content).__name__}, not a network", hint=GIVE)
    if "mnv2search_checkpoint" in content:
        raise WeightsError(
            f"{path} is a checkpoint for resuming a training, not a network",
            hint="give the best.pt beside it, which a training writes after every epoch that improves",
        )
    if "mnv2search" not in content:
        raise WeightsError(f"{path} contains no spec for its weights", hint=GIVE)
    if (version := content["mnv2search"]) != FORMAT:
        shown = version if isinstance(version, int | str) else type(version).__name__
        raise WeightsError(
            f"{path} has format {shown!s:.20}; this version reads format {FORMAT}",
            hint="write it again with this version",
        )
    return content
