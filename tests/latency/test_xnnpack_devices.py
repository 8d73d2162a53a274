"""The runtimes by XNNPACK: against their own converters, and in one thread."""

from __future__ import annotations

import time
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from mnv2search.errors import DeviceError
from mnv2search.export.arrays import layer_arrays, set_arbitrary
from mnv2search.latency.runner.engine import image
from mnv2search.latency.runtime import RuntimeDevice
from mnv2search.latency.runtimes.executorch import ExecuTorch
from mnv2search.latency.runtimes.litert import LiteRt
from mnv2search.latency.runtimes.xnnpack import XnnpackRuntime
from mnv2search.model.build import build
from mnv2search.testing.contracts import network_of

needs_executorch = pytest.mark.skipif(find_spec("executorch") is None, reason="ExecuTorch is not installed")
needs_litert = pytest.mark.skipif(find_spec("ai_edge_litert") is None, reason="LiteRT is not installed")
needs_converter = pytest.mark.skipif(find_spec("litert_torch") is None, reason="litert-torch is not installed")


@pytest.mark.parametrize(("precision", "near"), [("fp32", 1e-5), ("int8", 0.1)])
@pytest.mark.parametrize(
    ("runtime", "converter"),
    [
        pytest.param(ExecuTorch, "torch.export and executorch 1", marks=needs_executorch, id="executorch"),
        pytest.param(LiteRt, "litert-torch 0", marks=[needs_litert, needs_converter], id="litert"),
    ],
)
def test_the_converter_s_network_answers_as_ours(
    runtime: type[XnnpackRuntime], converter: str, precision: str, near: float
) -> None:
    spec = network_of()
    model = build(spec).eval()
    set_arbitrary(model)
    with torch.inference_mode():
        expected = model(torch.from_numpy(image(1, spec.resolution))).numpy()
    device = RuntimeDevice(runtime(precision=precision))
    ours = device.output(device.runtime.lower(model.plan, layer_arrays(model)), spec)
    theirs = device.output(device.runtime.convert(model.plan, model), spec)
    assert device.runtime.converter.startswith(converter)
    assert np.abs(ours - expected).max() <= near * np.abs(expected).max()
    assert np.abs(theirs - expected).max() <= near * np.abs(expected).max()


@pytest.mark.parametrize(
    "runtime",
    [
        pytest.param(ExecuTorch, marks=needs_executorch, id="executorch"),
        pytest.param(LiteRt, marks=needs_litert, id="litert"),
    ],
)
def test_one_thread_does_all_of_the_work(runtime: type[XnnpackRuntime]) -> None:
    run = RuntimeDevice(runtime()).prepare(network_of(width=1.0, resolution=224))
    thread, process = time.thread_time_ns(), time.process_time_ns()
    run()
    assert time.thread_time_ns() - thread > 0.8 * (time.process_time_ns() - process)


@pytest.mark.parametrize(
    ("runtime", "message"),
    [
        pytest.param(ExecuTorch, "only for modules in fp16", marks=needs_executorch, id="executorch"),
        pytest.param(LiteRt, "cannot convert to fp16", marks=needs_litert, id="litert"),
    ],
)
def test_there_is_no_converter_to_half_precision(runtime: type[XnnpackRuntime], message: str) -> None:
    model = build(network_of()).eval()
    with pytest.raises(DeviceError, match=message):
        runtime(precision="fp16").convert(model.plan, model)
