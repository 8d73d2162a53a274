"""What the files of several formats have in common: their size, and that they are written from the network alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from lowering_specs import mobilenet_v2, small, written

from mnv2search.errors import OptionError
from mnv2search.export.arrays import layer_arrays
from mnv2search.lowering.executorch.program import executorch_bytes
from mnv2search.lowering.ncnn.model import ncnn_files
from mnv2search.lowering.tflite.model import tflite_bytes
from mnv2search.model.build import build
from mnv2search.spec.model_spec import BlockSpec, ModelSpec
from mnv2search.spec.plan import plan

Emit = Callable[..., bytes]
XNNPACK = pytest.mark.parametrize("emit", [executorch_bytes, tflite_bytes])
EVERY = pytest.mark.parametrize("emit", [executorch_bytes, tflite_bytes, ncnn_files])


@XNNPACK
def test_the_weights_are_there_once(emit: Emit) -> None:
    model = build(small(BlockSpec(channels=160), normalizer="none"))
    parameters = 4 * sum(p.numel() for p in model.parameters())
    assert parameters < len(emit(model.plan, layer_arrays(model))) < parameters + 8000


@XNNPACK
@pytest.mark.parametrize(("precision", "share"), [("fp16", 0.6), ("int8", 0.4)])
def test_fewer_bits_take_less_room(emit: Emit, precision: str, share: float) -> None:
    spec = small(BlockSpec(channels=160, expansion=3))
    assert len(written(emit, spec, precision)[0]) < share * len(written(emit, spec, "fp32")[0])


@EVERY
def test_the_same_network_gives_the_same_files(emit: Callable[..., Any]) -> None:
    laid_out = plan(small(BlockSpec(channels=16)))
    assert emit(laid_out) == emit(laid_out)


@EVERY
@pytest.mark.parametrize(
    ("spec", "layer"),
    [(small(BlockSpec(channels=24)), "depthwise"), (mobilenet_v2(resolution=96), "projection")],
    ids=["small", "published"],
)
def test_missing_weights_are_named(emit: Callable[..., Any], spec: ModelSpec, layer: str) -> None:
    model = build(spec)
    weights = dict(layer_arrays(model))
    del weights[1, 1]
    with pytest.raises(OptionError, match=rf"blocks\[0\], layer 1 \({layer}\)"):
        emit(model.plan, weights)
