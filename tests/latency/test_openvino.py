"""OpenVINO answers as the network does, in the thread that asks, and keeps the contract of a device."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from mnv2search.errors import DeviceError, OptionError
from mnv2search.export.arrays import layer_arrays
from mnv2search.latency.registry import open_device
from mnv2search.latency.runner.engine import image
from mnv2search.latency.runtime import RuntimeDevice
from mnv2search.latency.runtimes.openvino import OpenVino
from mnv2search.latency.types import LatencyDevice
from mnv2search.lowering.onnx.int8 import onnx_int8_bytes
from mnv2search.lowering.ranges import ranges_of
from mnv2search.lowering.types import Artifact
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import plan
from mnv2search.testing.contracts import DeviceContract, network_of

sys.path.append(str(Path(__file__).parents[1] / "model"))

from model_specs import EXOTIC, lively, mobilenet_v2

# Not `importorskip`: an import that is not the engine's would report itself over the network.
pytestmark = pytest.mark.skipif(find_spec("openvino") is None, reason="the extra openvino is not installed")

needs_nncf = pytest.mark.skipif(find_spec("nncf") is None, reason="the extra openvino-convert is not installed")


class TestDevice(DeviceContract):
    @pytest.fixture
    def device(self) -> Iterator[LatencyDevice]:
        with open_device("openvino") as device:
            yield device


class TestIntegers(DeviceContract):
    @pytest.fixture
    def device(self) -> Iterator[LatencyDevice]:
        with open_device("openvino:precision=int8") as device:
            yield device


def expected(spec: ModelSpec) -> np.ndarray:
    with torch.inference_mode():
        return np.asarray(lively(spec)(torch.from_numpy(image(1, spec.resolution))))


def difference(found: np.ndarray, wanted: np.ndarray) -> float:
    """Infinite where the shapes differ; over the largest wanted number."""
    assert found.shape == wanted.shape
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("spec", EXOTIC.values(), ids=EXOTIC.keys())
def test_it_answers_as_the_module(spec: ModelSpec) -> None:
    model = lively(spec)
    device = RuntimeDevice(OpenVino())
    artifact = device.runtime.lower(model.plan, layer_arrays(model))
    assert difference(device.output(artifact, spec), expected(spec)) <= 1e-4


@pytest.mark.parametrize("name", ["plain", "split-uneven", "gated", "gated-v3", "residual-pad", "mixed-norms"])
def test_in_integers_it_answers_nearly_as_the_module(name: str) -> None:
    spec = EXOTIC[name]
    model = lively(spec)
    weights = layer_arrays(model)
    ranges = ranges_of(model.plan, weights, images=image(1, spec.resolution))
    artifact = Artifact(files=(("model.onnx", onnx_int8_bytes(model.plan, weights, ranges=ranges)),))
    found = RuntimeDevice(OpenVino(precision="int8")).output(artifact, spec)
    wanted = expected(spec)
    assert (found * wanted).sum() >= 0.99 * np.sqrt((found**2).sum() * (wanted**2).sum())


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), pytest.param("int8", 0.1, marks=needs_nncf)])
def test_what_its_converter_makes_answers_alike(precision: str, tolerance: float) -> None:
    spec = mobilenet_v2(width=0.35, resolution=96)
    device = RuntimeDevice(OpenVino(precision=precision))
    artifact = device.runtime.convert(plan(spec), lively(spec))
    assert difference(device.output(artifact, spec), expected(spec)) <= tolerance


@pytest.mark.parametrize("precision", ["fp32", pytest.param("int8", marks=needs_nncf)])
def test_a_batch_is_lowered_and_converted(precision: str) -> None:
    spec = network_of()
    device = RuntimeDevice(OpenVino(batch=2, precision=precision))
    assert device.output(device.runtime.lower(plan(spec)), spec).shape == (2, 10)
    assert device.output(device.runtime.convert(plan(spec), lively(spec)), spec).shape == (2, 10)


@needs_nncf
def test_conversion_to_integers_writes_nothing_to_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    OpenVino(precision="int8").convert(plan(network_of()), lively(network_of()))
    assert capfd.readouterr().out == ""


def test_gates_and_what_curves_read_stay_in_single_precision() -> None:
    graph = OpenVino(precision="int8").lower(plan(EXOTIC["gated-v3"])).files[0][1]
    nodes = onnx.load_from_string(graph).graph.node
    quantised = {node.input[0].split("/")[-1].split("_")[0] for node in nodes if node.op_type == "QuantizeLinear"}
    assert "HardSigmoid" not in quantised
    assert "HardSwish" in quantised


def test_one_thread_is_the_one_that_asks() -> None:
    run = RuntimeDevice(OpenVino()).prepare(network_of(width=1.0, resolution=224))
    run()
    process, thread = time.process_time_ns(), time.thread_time_ns()
    run()
    process, thread = time.process_time_ns() - process, time.thread_time_ns() - thread
    assert thread >= 0.8 * process


def test_a_precision_that_the_processor_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from mnv2search.latency.runner.engines import openvino as engine

    monkeypatch.setitem(engine.PRECISIONS, "fp16", ("f16", "NOTHING"))
    with pytest.raises(OptionError, match=r"this processor does not compute in fp16: it is capable of .*FP32"):
        RuntimeDevice(OpenVino(precision="fp16"))


def test_a_graph_that_is_none_is_refused() -> None:
    device = RuntimeDevice(OpenVino())
    with pytest.raises(DeviceError, match="openvino refuses the network contract"):
        device.output(Artifact(files=(("model.onnx", b"nothing"),)), network_of())


def test_it_reports_itself_to_nobody() -> None:
    program = "import sys, mnv2search.latency.runner.engines.openvino; print('openvino_telemetry' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


INTERRUPTED = """
import os, signal
from mnv2search.latency.registry import open_device
from mnv2search.testing.contracts import network_of
first, second = (open_device("openvino").prepare(network_of()) for _ in range(2))
del first
del second
try:
    os.kill(os.getpid(), signal.SIGINT)
    signal.pause()
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_is_an_interrupt_after_networks_are_freed_in_the_order_of_loading() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "interrupted\n")
