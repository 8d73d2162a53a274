"""The specs of the tests of networks, for the tests of lowering too."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "model"))

from dense_specs import DENSE, detector, segmenter
from model_specs import EXOTIC, images, lively, mobilenet_v2, small

from mnv2search.export.arrays import layer_arrays
from mnv2search.lowering.ranges import ranges_of
from mnv2search.model.build import MobileNet
from mnv2search.spec.model_spec import ModelSpec

__all__ = ["DENSE", "EXOTIC", "detector", "images", "lively", "mobilenet_v2", "segmenter", "small", "written"]


def written(emit: Callable[..., bytes], spec: ModelSpec, precision: str) -> tuple[bytes, MobileNet]:
    """The file of a network with lively weights, and the network."""
    model = lively(spec)
    weights = layer_arrays(model)
    ranges = ranges_of(model.plan, weights) if precision == "int8" else None
    return emit(model.plan, weights, ranges=ranges, half=precision == "fp16"), model
