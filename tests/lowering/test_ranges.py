"""Ranges hold what the network computes, and integers hold the ranges."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnv2search.errors import OptionError
from mnv2search.lowering.onnx.model import onnx_bytes
from mnv2search.lowering.quantize import Key, per_channel, scale_and_zero
from mnv2search.lowering.ranges import ranges_of
from mnv2search.spec.model_spec import BlockSpec, Classifier, ModelSpec
from mnv2search.spec.plan import plan


def net(**settings: Any) -> ModelSpec:
    block = BlockSpec(**({"channels": 32, "repeats": 2} | settings))
    return ModelSpec(name="net", blocks=(block,), resolution=32, head=Classifier(classes=10))


PLAIN: set[Key] = {(-1, "image"), (0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2), (1, "sum"), (2, "sum"), (3, 0)}
PLAIN |= {(1, 2), (4, "squeezed"), (4, 0)}
GATE: set[Key] = {(u, what) for u in (1, 2) for what in ("squeezed", 3, "3.linear", 4, "gated")}
CURVED: set[Key] = {(u, f"{i}.{what}") for u in (1, 2) for i in (0, 1) for what in ("linear", "sigmoid")}
NORMED: set[Key] = {(u, f"{i}.convolution") for u in (1, 2) for i in (0, 1, 2)}


@pytest.mark.parametrize(
    ("spec", "keys"),
    [
        (net(), PLAIN),
        (net(transform="squeeze_excite"), PLAIN | GATE),
        (net(residual="pad", stride=2), PLAIN | {(1, "shortcut")}),
        (net(activation="silu"), PLAIN | CURVED),
        (net(normalizer="group"), PLAIN | NORMED),
    ],
    ids=["plain", "squeeze-excite", "padded shortcut", "silu", "group norm"],
)
def test_every_tensor_that_is_quantised_has_a_range(spec: ModelSpec, keys: set[Key]) -> None:
    assert set(ranges_of(plan(spec))) == keys


def test_the_last_range_is_that_of_the_output_of_all_images() -> None:
    images = np.random.default_rng(1).standard_normal((3, 3, 32, 32), dtype=np.float32)
    session = ort.InferenceSession(onnx_bytes(plan(net()), batch=None), providers=["CPUExecutionProvider"])
    logits = session.run(None, {"image": images})[0]
    assert ranges_of(plan(net()), images=images)[4, 0] == pytest.approx((logits.min(), logits.max()), rel=1e-4)


def test_every_range_holds_zero() -> None:
    bright = np.full((1, 3, 32, 32), 2, np.float32)
    ranges = ranges_of(plan(net()), images=bright)
    assert ranges[-1, "image"] == (0.0, 2.0)
    assert all(low <= 0 <= high for low, high in ranges.values())


def test_images_of_another_side_are_refused() -> None:
    with pytest.raises(OptionError, match=r"shape \(1, 3, 16, 16\)"):
        ranges_of(plan(net()), images=np.zeros((1, 3, 16, 16), np.float32))


@given(low=st.floats(-1e6, 1e6), high=st.floats(-1e6, 1e6))
def test_integers_cover_the_range_to_half_a_step_and_hold_zero(low: float, high: float) -> None:
    low, high = min(low, high), max(low, high)
    scale, zero = scale_and_zero(low, high)
    assert -128 <= zero <= 127
    assert scale * (-128 - zero) <= min(low, 0) + 0.51 * scale
    assert scale * (127 - zero) >= max(high, 0) - 0.51 * scale


def test_a_weight_is_within_half_a_step_of_its_integers() -> None:
    weight = np.random.default_rng(0).standard_normal((8, 4, 3, 3), dtype=np.float32)
    found = per_channel(weight)
    error = np.abs(found.values * found.scales.reshape(-1, 1, 1, 1) - weight)
    assert (error <= 0.501 * found.scales.reshape(-1, 1, 1, 1)).all()


def test_a_channel_without_weights_keeps_its_bias() -> None:
    bias = np.array([0.5, -3.0], np.float32)
    found = per_channel(np.full((2, 4, 1, 1), 1e-30, np.float32), bias, input_scale=0.02)
    assert found.bias is not None
    assert found.bias * found.scales * 0.02 == pytest.approx(bias, rel=1e-6)
