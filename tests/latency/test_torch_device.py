"""PyTorch on the CPU: its options, and what it refuses."""

from __future__ import annotations

import shutil

import pytest
import torch

from mnv2search.errors import DeviceError, OptionError
from mnv2search.latency.registry import open_device
from mnv2search.latency.types import RunnerDevice
from mnv2search.spec.model_spec import BlockSpec, ModelSpec, Stem

TINY = ModelSpec(
    name="tiny", blocks=(BlockSpec(channels=8),), resolution=32, stem=Stem(channels=8), last_channels=None
)


def answers(monkeypatch: pytest.MonkeyPatch, **capabilities: bool) -> None:
    """Let the processor be one with these capabilities."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)


@pytest.mark.parametrize("options", ["threads=1,compile=yes", "threads=1,channels_last=no,fold=no,compile=yes"])
def test_a_compiled_device_opens_again_by_its_name(options: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch._inductor.cpp_builder.get_cpp_compiler", lambda: "c++")
    with open_device(f"torch:{options}") as device:
        assert device.info.name == f"torch:{options}"
        assert device.info.delegate == "inductor"


def test_without_a_compiler_nothing_is_compiled() -> None:
    from torch._inductor import config

    with (
        config.patch({"cpp.cxx": ("no-such-compiler",)}),
        pytest.raises(DeviceError, match=r"finds no C\+\+ compiler") as caught,
    ):
        open_device("torch:compile=yes")
    assert "g++" in caught.value.hint


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
def test_a_network_is_compiled_and_runs() -> None:
    with open_device("torch:compile=yes") as device:
        assert isinstance(device, RunnerDevice)
        device.prepare(TINY)()


@pytest.mark.parametrize(
    ("precision", "capability"), [("bf16", "avx512_bf16"), ("bf16", "bf16"), ("fp16", "avx512_fp16")]
)
def test_a_precision_of_the_processor_is_measured(
    precision: str, capability: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, **{capability: True})
    with open_device(f"torch:precision={precision}") as device:
        assert device.info.name == f"torch:threads=1,precision={precision}"
        assert device.info.dtype == precision
        assert isinstance(device, RunnerDevice)
        device.prepare(TINY)()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize(
    ("capabilities", "reason"), [({"avx2": True}, "does not support it"), ({}, "does not report to torch")]
)
def test_a_precision_that_the_processor_lacks_is_refused(
    precision: str, capabilities: dict[str, bool], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, **capabilities)
    with pytest.raises(DeviceError, match=f"precision is {precision}, but .* {reason}") as caught:
        open_device(f"torch:precision={precision}")
    assert "fp32" in caught.value.hint


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(OptionError, match="precision is 'int8'") as caught:
        open_device("torch:precision=int8")
    assert caught.value.hint == "it has fp32, fp16, bf16"
