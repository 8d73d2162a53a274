"""ncnn as a device, and against its official converter."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from mnv2search.errors import DeviceError, OptionError
from mnv2search.export.arrays import layer_arrays
from mnv2search.latency.registry import open_device
from mnv2search.latency.runner.engine import image
from mnv2search.latency.runtime import RuntimeDevice
from mnv2search.latency.runtimes.ncnn import Ncnn
from mnv2search.latency.types import LatencyDevice
from mnv2search.lowering.types import Artifact
from mnv2search.model.build import build
from mnv2search.testing.contracts import DeviceContract, network_of


class TestNcnn(DeviceContract):
    @pytest.fixture(params=["ncnn", "ncnn:precision=int8"])
    def device(self, request: pytest.FixtureRequest) -> Iterator[LatencyDevice]:
        pytest.importorskip("ncnn", reason="ncnn is not installed")
        with open_device(request.param) as device:
            yield device


def test_the_converter_s_network_answers_as_ours() -> None:
    pytest.importorskip("ncnn", reason="ncnn is not installed")
    pytest.importorskip("pnnx", reason="pnnx is not installed")
    spec = network_of()
    model = build(spec, seed=0).eval()
    with torch.inference_mode():
        expected = model(torch.from_numpy(image(1, spec.resolution))).numpy()
    device = RuntimeDevice(Ncnn())
    ours = device.output(device.runtime.lower(model.plan, layer_arrays(model)), spec)
    theirs = device.output(device.runtime.convert(model.plan, model), spec)
    assert device.runtime.converter.startswith("pnnx 2")
    assert np.abs(ours - expected).max() <= 1e-5 * np.abs(expected).max()
    assert np.abs(theirs - expected).max() <= 1e-5 * np.abs(expected).max()


def test_one_thread_does_all_the_work_itself() -> None:
    pytest.importorskip("ncnn", reason="ncnn is not installed")
    spec = network_of(width=1.0, resolution=224)
    run = RuntimeDevice(Ncnn()).prepare(spec)
    thread, process = time.thread_time_ns(), time.process_time_ns()
    run()
    assert time.thread_time_ns() - thread > 0.8 * (time.process_time_ns() - process)


def test_half_precision_is_refused_where_ncnn_would_not_compute_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ncnn = pytest.importorskip("ncnn", reason="ncnn is not installed")
    monkeypatch.setattr(ncnn, "cpu_support_arm_asimdhp", lambda: False)
    with pytest.raises(OptionError, match=r"fp16 on Arm v8\.2 processors only") as raised:
        open_device("ncnn:precision=fp16")
    assert raised.value.hint == "use fp32 or int8"


def test_files_that_are_none_are_refused() -> None:
    pytest.importorskip("ncnn", reason="ncnn is not installed")
    device = RuntimeDevice(Ncnn())
    with pytest.raises(DeviceError, match=r"ncnn cannot read model\.param"):
        device.output(Artifact(files=(("model.param", b"1\n"), ("model.bin", b""))), network_of())


def test_the_converter_for_integers_is_said_to_be_missing() -> None:
    model = build(network_of()).eval()
    with pytest.raises(DeviceError, match="ncnn2int8, are not in any Python package"):
        Ncnn(precision="int8").convert(model.plan, model)


@pytest.mark.parametrize(
    ("text", "message"), [("ncnn:batch=2", "batch is 2, but ncnn runs one image"), ("ncnn:batch=0", "batch is 0")]
)
def test_any_other_batch_than_one_is_refused(text: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        open_device(text)
