"""Networks with their weights, as files without code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from mnv2search.errors import ExportError
from mnv2search.model.build import MobileNet, build
from mnv2search.model.weights import UNREADABLE, load_weights
from mnv2search.spec.codec import loads
from mnv2search.spec.model_spec import ModelSpec

__all__ = ["FORMAT", "read_network"]

FORMAT = 1


def read_network(path: Path) -> MobileNet:
    """The network of a file that `StateDictExporter` wrote, in evaluation mode.

    Raises:
        ExportError: the file cannot be read, holds something else, or was written by a later version.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ExportError(f"{path} cannot be read as a network: {why}", hint="give a .pt file of ours") from error
    if not isinstance(content, Mapping) or content.get("mnv2search") != FORMAT:
        raise ExportError(
            f"{path} is no network of format {FORMAT}", hint="write one with `mnv2search compile SPEC -o NET.pt`"
        )
    spec = loads(content["spec"], file=str(path))
    if not isinstance(spec, ModelSpec):
        raise ExportError(f"the spec in {path} is a search space", hint="write the file anew from a spec")
    model = build(spec, seed=0)
    load_weights(model, content["state_dict"])
    return model.eval()
