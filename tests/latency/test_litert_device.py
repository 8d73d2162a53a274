"""LiteRT as a device, and against its official converter."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mnv2search.errors import DeviceError, OptionError
from mnv2search.latency.registry import open_device
from mnv2search.latency.runner import identity
from mnv2search.latency.runner.engine import quiet
from mnv2search.latency.runner.identity import computes_in_half
from mnv2search.latency.runtime import RuntimeDevice
from mnv2search.latency.runtimes.litert import LiteRt
from mnv2search.latency.types import LatencyDevice
from mnv2search.lowering.types import Artifact
from mnv2search.model.build import build
from mnv2search.testing.contracts import DeviceContract, network_of


@pytest.fixture(autouse=True)
def _litert() -> None:
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")


class TestLiteRt(DeviceContract):
    @pytest.fixture(params=["litert", "litert:precision=int8"])
    def device(self, request: pytest.FixtureRequest) -> Iterator[LatencyDevice]:
        with open_device(request.param) as device:
            yield device


def test_half_precision_is_refused_without_arithmetic_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "computes_in_half", lambda: False)
    with pytest.raises(OptionError, match=r"has no fp16 here: .* on processors with arithmetic for it") as raised:
        open_device("litert:precision=fp16")
    assert raised.value.hint == "use fp32 or int8"


def test_a_run_in_a_precision_that_is_not_there_leaves_nothing(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "computes_in_half", lambda: False)
    assert run("run", "--latency-ms", "5", "--device", "litert", "--precision", "fp16").code == 2
    assert not list(tmp_path.iterdir())


def test_half_precision_answers_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "computes_in_half", lambda: True)
    spec = network_of()
    device = RuntimeDevice(LiteRt(precision="fp16"))
    assert device.output(device.runtime.lower(build(spec).plan), spec).ndim == 2


def test_a_file_that_is_none_is_refused() -> None:
    device = RuntimeDevice(LiteRt())
    with pytest.raises(DeviceError, match="litert refuses the network"):
        device.output(Artifact(files=(("model.tflite", b"nothing of the kind"),)), network_of())


def test_what_a_library_prints_from_its_own_code_is_kept_off_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet():
        os.write(2, b"unheard")
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


@pytest.mark.parametrize(("flags", "has"), [("fp asimd fphp asimdhp", True), ("sse2 avx512f", False)])
def test_half_precision_arithmetic_is_read_off_the_processor_s_flags(
    flags: str, has: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.system", lambda: "Linux")
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nFeatures : {flags}\n", encoding="utf-8")
    assert computes_in_half(str(tmp_path)) is has
