"""A graphics processor: what is timed and what is not, on a processor of the test's own and on one that is there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_gpu import FakeGpu

sys.path.append(str(Path(__file__).parents[1] / "model"))

from dense_specs import DENSE

from mnv2search.errors import DeviceError, OptionError
from mnv2search.latency.measuring.timing import Measurer, Settings
from mnv2search.latency.registry import available, open_device
from mnv2search.latency.runner.engine import image
from mnv2search.latency.runtimes.torch_cuda import TorchCuda
from mnv2search.latency.types import BurstDevice, BurstRequest, LatencyDevice, RunnerDevice
from mnv2search.model.build import build
from mnv2search.spec.model_spec import BlockSpec, ModelSpec, Stem
from mnv2search.testing.contracts import DeviceContract, network_of

TINY = ModelSpec(
    name="tiny", blocks=(BlockSpec(channels=8),), resolution=32, stem=Stem(channels=8), last_channels=None
)
ONCE = BurstRequest(TINY, burst_ms=0.0, warm_ms=0.0, min_runs=3)
on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
without_a_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="torch sees a GPU")


def expected(spec: ModelSpec, batch: int) -> np.ndarray:
    with torch.inference_mode():
        return np.asarray(build(spec, seed=0).eval()(torch.from_numpy(image(batch, spec.resolution))).numpy())


def test_it_times_bursts_itself() -> None:
    device = TorchCuda(FakeGpu())
    assert isinstance(device, BurstDevice)
    assert not isinstance(device, RunnerDevice)


def test_what_is_timed_is_the_launch_alone() -> None:
    assert TorchCuda(FakeGpu()).bursts([ONCE]) == [[(1_000_000, 1_000_000)] * 3]


def test_the_cache_is_flushed_before_every_launch_and_outside_of_what_is_timed() -> None:
    gpu = FakeGpu()
    TorchCuda(gpu).bursts([ONCE])
    done = [what for what in gpu.did if what not in ("capture", "wait")]
    assert done == ["flush", "mark", "launch", "mark"] * gpu.launched


def test_runs_are_queued_before_the_processor_is_waited_for() -> None:
    gpu = FakeGpu()
    TorchCuda(gpu).bursts([ONCE._replace(min_runs=8)])
    waits = [place for place, what in enumerate(gpu.did) if what == "wait"]
    assert gpu.did[waits[-2] : waits[-1]].count("launch") == 8


def test_a_burst_is_as_long_as_asked_for() -> None:
    (runs,) = TorchCuda(FakeGpu()).bursts([ONCE._replace(burst_ms=25.0)])
    assert 25 <= len(runs) <= 26


@pytest.mark.parametrize(("warm_ms", "untimed"), [(0.0, 2), (20.0, 20)])
def test_untimed_runs_last_as_long_as_asked(warm_ms: float, untimed: int) -> None:
    gpu = FakeGpu()
    device = TorchCuda(gpu)
    device.bursts([ONCE])
    before = gpu.launched
    (runs,) = device.bursts([ONCE._replace(warm_ms=warm_ms)])
    assert gpu.launched - before - len(runs) == untimed


def test_a_network_runs_until_the_clocks_have_settled() -> None:
    gpu = FakeGpu(launch_ns=lambda n: 5_000_000 - min(n, 200) * 10_000)
    (runs,) = TorchCuda(gpu).bursts([ONCE])
    assert {wall for wall, _ in runs} == {3_000_000}


def test_clocks_that_never_settle_are_not_waited_for_for_ever() -> None:
    gpu = FakeGpu(launch_ns=lambda n: 20_000_000 if n // 10 % 2 else 10_000_000)
    TorchCuda(gpu).bursts([ONCE])
    assert 3e9 < gpu.time_ns < 4e9


@pytest.mark.parametrize(("pause_ns", "launches"), [(0, 5), (2_000_000_000, 305)], ids=["at once", "after a pause"])
def test_clocks_settle_again_only_after_a_pause(pause_ns: int, launches: int) -> None:
    gpu = FakeGpu()
    device = TorchCuda(gpu)
    device.bursts([ONCE])
    gpu.time_ns += pause_ns
    before = gpu.launched
    device.bursts([ONCE])
    assert gpu.launched - before == launches


def test_a_network_is_recorded_once() -> None:
    gpu = FakeGpu()
    TorchCuda(gpu).bursts([ONCE, ONCE])
    assert gpu.did.count("capture") == 1


def test_the_networks_least_recently_run_are_freed() -> None:
    gpu = FakeGpu()
    device = TorchCuda(gpu)
    specs = [network_of(width=0.1 * n) for n in range(2, 17)]
    device.bursts([ONCE._replace(spec=spec) for spec in [*specs, specs[-1], specs[0]]])
    assert gpu.did.count("capture") == len(specs) + 1


def test_a_failure_on_the_processor_names_the_network() -> None:
    def fail(n: int) -> int:
        raise RuntimeError("an illegal memory access was encountered")

    with pytest.raises(DeviceError, match="cannot run the network tiny: an illegal memory access"):
        TorchCuda(FakeGpu(launch_ns=fail)).bursts([ONCE])


def test_measuring_finds_the_time_of_the_launch() -> None:
    latency = Measurer(TorchCuda(FakeGpu()), Settings(min_visits=3, max_visits=3)).measure([TINY])[0]
    assert latency.median_ms == pytest.approx(1.0)
    assert latency.device.delegate == "cuda graph"


@pytest.mark.parametrize("batch", [1, 3])
def test_it_answers_as_the_module(batch: int) -> None:
    found = TorchCuda(FakeGpu(), batch=batch).output(network_of())
    wanted = expected(network_of(), batch)
    assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()


def test_the_settings_of_torch_are_as_before() -> None:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark
    TorchCuda(FakeGpu(), tf32=True).output(TINY)
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark) == before


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "torch-cuda"),
        ({"batch": 64, "precision": "bf16"}, "torch-cuda:batch=64,precision=bf16"),
        ({"tf32": True}, "torch-cuda:tf32=yes"),
    ],
    ids=["none", "batch and precision", "tf32"],
)
def test_a_device_knows_the_text_that_opens_it_again(
    options: dict[str, object], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mnv2search.latency.runtimes.nvidia.TorchGpu", FakeGpu)
    device = TorchCuda(**options)  # type: ignore[arg-type]
    assert device.info.name == name
    with open_device(name) as again:
        assert again.info == device.info


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("batch=0", "batch is 0"),
        ("precision=int8", "precision is 'int8'"),
        ("precision=fp16,tf32=yes", "tf32 is yes with precision=fp16"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        open_device(f"torch-cuda:{options}")


@pytest.mark.parametrize("options", [{"precision": "bf16"}, {"tf32": True}], ids=["bf16", "tf32"])
def test_a_precision_that_the_processor_would_emulate_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(DeviceError, match=r"fake \(compute capability 7\.5\) does not compute in"):
        TorchCuda(FakeGpu(capability=(7, 5)), **options)  # type: ignore[arg-type]


@without_a_gpu
def test_without_a_gpu_it_says_why() -> None:
    reasons = {a.name: a.reason for a in available()}
    assert reasons["torch-cuda"].startswith("torch sees no GPU")


@on_a_gpu
class TestTorchCuda(DeviceContract):
    @pytest.fixture(params=["torch-cuda", "torch-cuda:precision=fp16", "torch-cuda:batch=32"])
    def device(self, request: pytest.FixtureRequest) -> Iterator[LatencyDevice]:
        with open_device(request.param) as device:
            yield device


@on_a_gpu
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("fp16", 2e-2)])
def test_a_gpu_answers_as_the_module(precision: str, tolerance: float) -> None:
    with TorchCuda(batch=3, precision=precision) as device:
        found, wanted = device.output(network_of()), expected(network_of(), 3)
    assert np.abs(found - wanted).max() <= tolerance * np.abs(wanted).max()


@on_a_gpu
@pytest.mark.parametrize("spec", DENSE.values(), ids=DENSE.keys())
def test_a_gpu_answers_as_detectors_and_segmenters_do(spec: ModelSpec) -> None:
    with TorchCuda() as device:
        found, wanted = device.output(spec), expected(spec, 1)
    assert found.shape == wanted.shape
    if spec.head is not None and "classes" in str(getattr(spec.head, "output", "")):
        assert (found == wanted).mean() > 0.99
    else:
        assert np.abs(found - wanted).max() <= 1e-3 * np.abs(wanted).max()
