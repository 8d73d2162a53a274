"""TensorRT: against a double of its documented Python API, and for real where it is installed."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType

import fake_tensorrt
import numpy as np
import pytest
import torch
from fake_gpu import STREAM, FakeGpu

from mnv2search.errors import DeviceError, OptionError
from mnv2search.export.arrays import layer_arrays
from mnv2search.latency.registry import open_device
from mnv2search.latency.runner.engine import image
from mnv2search.latency.runtimes.tensorrt import TensorRt, half_precision
from mnv2search.latency.types import BurstRequest, LatencyDevice
from mnv2search.lowering.onnx.model import onnx_bytes
from mnv2search.model.build import build
from mnv2search.spec.model_spec import BlockSpec, ModelSpec, Stem
from mnv2search.spec.plan import plan
from mnv2search.testing.contracts import DeviceContract, network_of

TINY = ModelSpec(
    name="tiny", blocks=(BlockSpec(channels=8),), resolution=32, stem=Stem(channels=8), last_channels=None
)
THERE = importlib.util.find_spec("tensorrt") is not None and torch.cuda.is_available()


@pytest.fixture
def tensorrt() -> Iterator[ModuleType]:
    yield from fake_tensorrt.installed()


def answer(spec: ModelSpec, batch: int) -> np.ndarray:
    """What ONNX Runtime says to the graph that TensorRT gets."""
    engine = fake_tensorrt.CudaEngine(onnx_bytes(plan(spec), batch=batch))
    return np.asarray(engine.session.run(None, {"image": image(batch, spec.resolution)})[0])


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-6), ("fp16", 2e-2)])
def test_it_answers_as_the_graph_does(precision: str, tolerance: float, tensorrt: ModuleType) -> None:
    found = TensorRt(FakeGpu(), batch=2, precision=precision).output(network_of())
    wanted = answer(network_of(), 2)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= tolerance * np.abs(wanted).max()


def test_runs_are_timed_on_the_gpu(tensorrt: ModuleType) -> None:
    runs = TensorRt(FakeGpu()).bursts([BurstRequest(TINY, burst_ms=0.0, warm_ms=0.0, min_runs=3)])
    assert runs == [[(1_000_000, 1_000_000)] * 3]


def test_inferences_are_queued_on_the_stream_that_is_recorded(tensorrt: ModuleType) -> None:
    TensorRt(FakeGpu()).load(TINY)
    assert [context.streams for context in fake_tensorrt.CudaEngine.contexts] == [[STREAM]]


@pytest.mark.parametrize(("tf32", "flags"), [(False, set()), (True, {fake_tensorrt.BuilderFlag.TF32})])
def test_tf32_is_off_unless_asked_for(
    tf32: bool, flags: set[fake_tensorrt.BuilderFlag], tensorrt: ModuleType
) -> None:
    TensorRt(FakeGpu(), tf32=tf32).load(TINY)
    assert [config.flags for config in fake_tensorrt.Builder.configs] == [flags]


def test_precisions_are_those_of_the_graph(tensorrt: ModuleType) -> None:
    TensorRt(FakeGpu()).load(TINY)
    assert [network.flags for network in fake_tensorrt.Builder.networks] == [0b10]


def test_its_name_and_version_say_what_it_is(tensorrt: ModuleType) -> None:
    info = TensorRt(FakeGpu(), batch=8, precision="fp16").info
    assert info.name == "tensorrt:batch=8,precision=fp16"
    assert info.runtime_version == "10.9, torch 1"


@pytest.mark.parametrize(
    ("part", "message"),
    [("OnnxParser", "cannot read the graph: error 0: no importer"), ("Builder", "cannot build the engine")],
)
def test_what_tensorrt_refuses_names_the_network(
    part: str, message: str, tensorrt: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(getattr(tensorrt, part), "fails", True)
    with pytest.raises(DeviceError, match=f"the network tiny: TensorRT {message}"):
        TensorRt(FakeGpu()).load(TINY)


@pytest.mark.parametrize("options", ["precision=bf16", "batch=0", "precision=fp16,tf32=yes"])
def test_options_that_do_not_fit_are_refused(options: str) -> None:
    with pytest.raises(OptionError):
        open_device(f"tensorrt:{options}")


def test_without_tensorrt_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(DeviceError, match="tensorrt cannot be imported") as caught:
        open_device("tensorrt")
    assert "pip install tensorrt" in caught.value.hint


@pytest.mark.parametrize(
    "spec",
    [
        TINY,
        network_of(),
        ModelSpec(
            name="group",
            blocks=(BlockSpec(channels=16, transform="squeeze_excite_v3", stride=2, residual="pad"),),
            resolution=32,
            normalizer="group",
            activation="hard_swish",
        ),
    ],
    ids=["tiny", "plain", "group norm and gates"],
)
def test_half_precision_answers_nearly_as_single(spec: ModelSpec) -> None:
    graph = onnx_bytes(plan(spec), layer_arrays(build(spec, seed=0).eval()))
    single, half = (fake_tensorrt.CudaEngine(one).session for one in (graph, half_precision(graph)))
    fixed = image(1, spec.resolution)
    wanted, found = single.run(None, {"image": fixed})[0], half.run(None, {"image": fixed.astype(np.float16)})[0]
    assert found.dtype == np.float16
    assert np.abs(found - wanted).max() <= 2e-2 * np.abs(wanted).max()


@pytest.mark.skipif(not THERE, reason="there is no TensorRT, or no GPU")
class TestTensorRt(DeviceContract):
    @pytest.fixture(params=["tensorrt", "tensorrt:precision=fp16"])
    def device(self, request: pytest.FixtureRequest) -> Iterator[LatencyDevice]:
        with open_device(request.param) as device:
            yield device
