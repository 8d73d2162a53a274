"""ONNX Runtime in eight-bit integers, as a device and against the official quantiser."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from mnv2search.errors import OptionError
from mnv2search.export.arrays import layer_arrays
from mnv2search.latency.registry import open_device
from mnv2search.latency.runner.engine import image
from mnv2search.latency.runtime import RuntimeDevice
from mnv2search.latency.runtimes.onnxruntime import OnnxRuntime
from mnv2search.latency.types import LatencyDevice
from mnv2search.model.build import build
from mnv2search.testing.contracts import DeviceContract, network_of


class TestIntegers(DeviceContract):
    @pytest.fixture
    def device(self) -> Iterator[LatencyDevice]:
        with open_device("onnxruntime:precision=int8") as device:
            yield device


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("int8", 0.15)])
def test_ours_and_the_converter_s_answer_as_the_module(precision: str, tolerance: float) -> None:
    spec = network_of()
    model = build(spec, seed=0).eval()
    with torch.inference_mode():
        expected = model(torch.from_numpy(image(1, spec.resolution))).numpy()
    device = RuntimeDevice(OnnxRuntime(precision=precision))
    ours = device.output(device.runtime.lower(model.plan, layer_arrays(model)), spec)
    official = device.output(device.runtime.convert(model.plan, model), spec)
    largest = np.abs(expected).max()
    assert np.abs(ours - expected).max() <= tolerance * largest
    assert np.abs(official - expected).max() <= tolerance * largest


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_batch_is_lowered_and_converted(precision: str) -> None:
    spec = network_of()
    model = build(spec, seed=0).eval()
    device = RuntimeDevice(OnnxRuntime(precision=precision, batch=3))
    assert device.output(device.runtime.lower(model.plan), spec).shape == (3, 10)
    assert device.output(device.runtime.convert(model.plan, model), spec).shape == (3, 10)


def test_half_precision_is_not_offered() -> None:
    with pytest.raises(OptionError, match="precision is 'fp16'"):
        OnnxRuntime(precision="fp16")
