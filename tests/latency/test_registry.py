"""Devices by name."""

from __future__ import annotations

import pytest

from mnv2search.errors import DeviceError, OptionError, UnknownNameError
from mnv2search.latency.registry import available, open_device
from mnv2search.latency.types import LatencyDevice, RunnerDevice
from mnv2search.spec.model_spec import BlockSpec, ModelSpec, Stem

TINY = ModelSpec(
    name="tiny", blocks=(BlockSpec(channels=8),), resolution=32, stem=Stem(channels=8), last_channels=None
)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("onnxruntime", "onnxruntime:threads=1"),
        ("onnxruntime:threads=2,batch=4", "onnxruntime:threads=2,batch=4"),
        ("onnxruntime@localhost", "onnxruntime:threads=1"),
        ("torch:fold=no", "torch:threads=1,fold=no"),
        ("torch:channels_last=false,batch=2", "torch:threads=1,batch=2,channels_last=no"),
        ("simulated:noise=0.25,seed=7", "simulated:seed=7,noise=0.25"),
    ],
)
def test_a_device_knows_the_text_that_opens_it_again(text: str, name: str) -> None:
    with open_device(text) as device:
        assert device.info.name == name
    with open_device(name) as again:
        assert again.info == device.info
        assert again.info.fingerprint == device.info.fingerprint


@pytest.mark.parametrize("text", ["onnxruntime", "torch", "torch:fold=no,channels_last=no", "simulated"])
def test_every_device_runs_a_network(text: str) -> None:
    with open_device(text) as device:
        assert isinstance(device, LatencyDevice)
        assert isinstance(device, RunnerDevice)
        device.prepare(TINY)()


def test_the_simulated_device_measures_exactly_and_always_the_same() -> None:
    with open_device("simulated") as device, open_device("simulated:seed=5") as other:
        assert device.measure(TINY).median_ms == pytest.approx(other.measure(TINY).median_ms, rel=1e-6)


def test_noise_of_the_simulated_device_comes_from_its_seed() -> None:
    with open_device("simulated:noise=0.05") as one, open_device("simulated:noise=0.05") as same:
        assert one.measure(TINY).median_ms == same.measure(TINY).median_ms


def test_a_device_measured_twice_reports_the_second_time_only() -> None:
    with open_device("simulated") as device:
        assert device.measure(TINY).samples == device.measure(TINY).samples


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("onnxruntime@pi", "is on the host 'pi'"),
        ("onnxruntime@", "names no host"),
        ("onnxruntime:threads", "has the option 'threads'"),
        ("onnxruntime:", "has the option ''"),
        ("onnxruntime:threads=1,threads=2", "has the option threads twice"),
        ("onnxruntime:threads=one", "threads is 'one'"),
        ("onnxruntime:threads=0", "threads is 0"),
        ("torch:batch=0", "batch is 0"),
        ("simulated:noise=-1", "noise is -1"),
        ("simulated:noise=nan", "noise is 'nan'"),
        ("simulated:noise=inf", "noise is 'inf'"),
        ("simulated:noise=1e308", "noise is 1e\\+308"),
        ("simulated:noise=1e309", "noise is '1e309'"),
        (f"simulated:seed=1{'0' * 400}", "seed is '10{79}'"),
        (f"simulated:seed=1{'0' * 5000}", "seed is '10{79}'"),
    ],
)
def test_what_cannot_be_opened_is_explained(text: str, message: str) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        open_device(text)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "near"), [("onnxrunt", "onnxruntime"), ("onnxruntime:thread=2", "threads")], ids=["device", "option"]
)
def test_a_near_miss_is_offered(text: str, near: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        open_device(text)
    assert near in caught.value.hint


@pytest.mark.parametrize("runtime", ["onnxruntime", "torch"])
def test_a_batch_that_no_memory_holds_is_told(runtime: str) -> None:
    with (
        open_device(f"{runtime}:batch=100000000") as device,
        pytest.raises(DeviceError, match=r"100,000,000 images .*do(es)? not fit in memory") as raised,
    ):
        device.measure(TINY)
    assert raised.value.hint == "use a smaller batch"


def test_every_device_is_available_or_says_why_not() -> None:
    found = {a.name: a for a in available()}
    assert all(bool(a.version) == a.usable == (not a.reason) for a in found.values())
    assert all(found[name].usable for name in ("onnxruntime", "torch", "simulated"))
