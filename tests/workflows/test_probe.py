"""What a probe finds on devices that are known to have cliffs, or none."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from mnv2search.cli.main import cli
from mnv2search.latency.registry import open_device
from mnv2search.latency.types import Latency
from mnv2search.report.devices import channel_rows, kernel_rows, probe_lines
from mnv2search.results.devices import ChannelPoint, MultiplePoint, Probe
from mnv2search.workflows.devices import probe as probe_module
from mnv2search.workflows.devices.probe import CHANNELS, NETWORKS, _cliffs, _kernels, _trend


@pytest.fixture(scope="module")
def latency() -> Callable[[float], Latency]:
    """Latencies that are known to half a percent."""
    with open_device("simulated") as device:
        info = device.info

    def of(ms: float) -> Latency:
        return Latency(
            median_ms=ms,
            ci_low_ms=0.995 * ms,
            ci_high_ms=1.005 * ms,
            p90_ms=ms,
            samples=100,
            dropped=0,
            kind="measured",
            device=info,
            taken_at="2026-01-01T00:00:00+00:00",
        )

    return of


def blocked(channels: int, block: int) -> float:
    """Milliseconds where channels are computed in blocks, and a convolution costs their square."""
    padded = -(-channels // block) * block
    return 0.05 + 0.001 * padded + 2e-5 * padded**2


@pytest.mark.parametrize(("block", "expected"), [(1, 4), (4, 4), (8, 8), (16, 16), (32, 32)])
def test_the_block_of_a_device_is_found(latency: Callable[[float], Latency], block: int, expected: int) -> None:
    assert _trend([latency(blocked(c, block)) for c in CHANNELS])[2] == expected


def test_a_device_that_cannot_be_told_keeps_the_usual_rounding(latency: Callable[[float], Latency]) -> None:
    noise = [0.0, 0.04, -0.03, -0.04, 0.03, 0.05, -0.05, 0.0, 0.04, -0.04, 0.03, -0.05, 0.02]
    measured = [latency(blocked(c, 1) * (1 + e)) for c, e in zip(CHANNELS, noise, strict=True)]
    assert _trend(measured)[2] == 8


def test_cliffs_are_where_the_blocks_end(latency: Callable[[float], Latency]) -> None:
    measured = [latency(blocked(c, 16)) for c in CHANNELS]
    trend, _, _ = _trend(measured)
    points = [
        ChannelPoint(channels=c, measured=m, trend_ms=t) for c, m, t in zip(CHANNELS, measured, trend, strict=True)
    ]
    assert {(c.below, c.above) for c in _cliffs(points)} == {(48, 52), (64, 68), (80, 84)}


def test_there_are_no_cliffs_on_a_smooth_device(latency: Callable[[float], Latency]) -> None:
    measured = [latency(blocked(c, 1)) for c in CHANNELS]
    trend, _, _ = _trend(measured)
    points = [
        ChannelPoint(channels=c, measured=m, trend_ms=t) for c, m, t in zip(CHANNELS, measured, trend, strict=True)
    ]
    assert _cliffs(points) == ()


def test_a_ruinous_kernel_is_told_from_a_large_one(latency: Callable[[float], Latency]) -> None:
    three, five, seven = _kernels([latency(ms) for ms in (1.8, 2.6, 9.0)], latency(1.0))
    assert three.ms == pytest.approx(0.1)
    assert five.ratio == pytest.approx(2.0)
    assert seven.ratio == pytest.approx(10.0)
    assert [point.is_ruinous for point in (three, five, seven)] == [False, False, True]
    # the interval of a difference holds those of both
    assert three.half_width_ms == pytest.approx(0.005 * (1.8**2 + 1) ** 0.5 / 8)


def test_a_probe_says_what_it_found_with_units_and_device(latency: Callable[[float], Latency]) -> None:
    measured = [latency(blocked(c, 16)) for c in CHANNELS]
    trend, multiples, round_to = _trend(measured)
    points = tuple(
        ChannelPoint(channels=c, measured=m, trend_ms=t) for c, m, t in zip(CHANNELS, measured, trend, strict=True)
    )
    found = Probe(
        device=measured[0].device,
        channels=points,
        multiples=multiples,
        kernels=_kernels([latency(ms) for ms in (1.8, 2.6, 9.0)], latency(1.0)),
        cliffs=_cliffs(points),
        round_to=round_to,
    )
    text = "\n".join(probe_lines(found))
    assert text.startswith("device: simulated")
    assert "kernel 7 takes 10.0 times as long as the smallest, for 5.4 times the multiply-adds" in text
    assert "cliff: from 64 to 68 channels" in text
    assert text.endswith("round channels to multiples of 16: mnv2search run --round-to 16")
    assert len(channel_rows(found).rows) == len(CHANNELS)
    assert kernel_rows(found).rows[0] == ("3", "0.100 ± 0.001", "1.00", "1.00")


def test_a_device_is_probed() -> None:
    done = CliRunner().invoke(cli, ["devices", "probe", "--device", "simulated", "--time", "5s", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [point["channels"] for point in found["channels"]] == list(CHANNELS)
    assert [point["multiple"] for point in found["multiples"]] == [4, 8, 16, 32]
    assert found["round_to"] in (4, 8, 16, 32)
    assert len(found["channels"]) + len(found["kernels"]) == NETWORKS


RUN = ["run", "--latency-ms", "8", "--device", "simulated", "--trials", "4", "--no-confirm", "--name", "one"]


def test_a_run_rounds_channels_as_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, [*RUN, "--round-to", "32"])
    assert done.exit_code == 0, done.output
    assert "rounded to multiples of 32, as requested" in done.stderr
    assert "divisor: 32" in (tmp_path / "results/one/space.yaml").read_text()
    assert "divisor: 32" in (tmp_path / "results/one/ship.yaml").read_text()


def test_a_run_that_goes_on_keeps_what_the_device_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked = 0
    real = probe_module._trend

    def sixteen(measured: Sequence[Latency]) -> tuple[NDArray[np.float64], tuple[MultiplePoint, ...], int]:
        nonlocal asked
        asked += 1
        return *real(measured)[:2], 16

    monkeypatch.setattr(probe_module, "_trend", sixteen)
    first = CliRunner().invoke(cli, [*RUN, "--round-to", "auto"])
    assert first.exit_code == 0, first.output
    assert "rounded to multiples of 16, the fastest on this device" in first.stderr
    again = CliRunner().invoke(cli, [*RUN[:6], "6", *RUN[7:], "--round-to", "auto"])
    assert again.exit_code == 0, again.output
    assert asked == 1


def test_another_rounding_is_another_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(cli, [*RUN, "--round-to", "16"]).exit_code == 0
    done = CliRunner().invoke(cli, [*RUN, "--round-to", "32"])
    assert "holds a run with another search space" in str(done.exception)
