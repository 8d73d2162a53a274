"""Networks are measured on one device, or on several side by side, and a device that fails says why."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from mnv2search.errors import DeviceError, OptionError
from mnv2search.latency import registry
from mnv2search.latency.registry import Availability, local_devices
from mnv2search.latency.runtimes.simulated import SimulatedDevice
from mnv2search.latency.types import BurstRequest, Runner
from mnv2search.report.devices import measured_rows
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.workflows.devices import measure as module
from mnv2search.workflows.devices.measure import measure

Run = Callable[..., Any]
SMALL, LARGE = "mobilenet_v2_0.35_96", "mobilenet_v2_0.5_160"
DEVICES = ["simulated", "simulated:seed=2"]


def test_every_network_is_measured_on_every_device() -> None:
    found = measure([SMALL, LARGE], device=DEVICES)
    assert [(one.spec.name, one.device) for one in found] == [
        (SMALL, DEVICES[0]),
        (LARGE, DEVICES[0]),
        (SMALL, DEVICES[1]),
        (LARGE, DEVICES[1]),
    ]
    assert all(one.latency is not None and not one.problem for one in found)


def test_devices_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    visited: list[str] = []
    timed = BurstRequest.timed

    def watched(request: BurstRequest, run: Runner, clock: Any) -> list[tuple[int, int]]:
        visited.append(f"{id(clock)} {request.spec.name}")
        return timed(request, run, clock)

    monkeypatch.setattr(BurstRequest, "timed", watched)
    measure(SMALL, device=DEVICES)
    one, other = dict.fromkeys(text.partition(" ")[0] for text in visited)
    visit = ["reference", SMALL, "reference"]
    assert visited[:12] == [f"{device} {name}" for device in (one, other, one, other) for name in visit]


def test_a_device_that_cannot_be_used_says_why() -> None:
    found = measure(SMALL, device=["simulated", "simulated:noise=9"])
    assert [one.latency is None for one in found] == [False, True]
    assert found[1].problem == "device simulated: noise is 9"


def test_a_refused_network_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    prepare = SimulatedDevice.prepare

    def prepared(device: SimulatedDevice, spec: ModelSpec) -> Runner:
        if spec.name == LARGE and "seed=2" in device.info.name:
            raise DeviceError(f"refuses the network {spec.name}")
        return prepare(device, spec)

    monkeypatch.setattr(SimulatedDevice, "prepare", prepared)
    found = measure([SMALL, LARGE], device=DEVICES)
    assert [one.problem for one in found] == ["", "", "", f"refuses the network {LARGE}"]


def test_a_problem_of_the_only_device_is_an_error() -> None:
    with pytest.raises(OptionError, match="noise is 9"):
        measure(SMALL, device="simulated:noise=9")


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("litert", ("litert",)),
        ("litert@ssh://a + litert@ssh://b", ("litert@ssh://a + litert@ssh://b",)),
        ("litert + torch", ("litert", "torch")),
        ("litert + litert:precision=int8", ("litert", "litert:precision=int8")),
        ("litert@ssh://a + torch@ssh://a", ("litert@ssh://a", "torch@ssh://a")),
    ],
)
def test_devices_that_differ_only_in_their_hosts_are_a_pool(text: str, targets: tuple[str, ...]) -> None:
    assert module._targets(text) == targets


def test_pinned_devices_are_not_compared() -> None:
    with pytest.raises(OptionError, match="onnxruntime:cores=0 is pinned to cores"):
        measure(SMALL, device=["simulated", "onnxruntime:cores=0"])


@pytest.fixture
def two_runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        Availability(name="onnxruntime", version="1", usable=True, reason=""),
        Availability(name="ncnn", version="", usable=False, reason="not installed"),
        Availability(name="simulated", version="1", usable=True, reason=""),
    ]
    monkeypatch.setattr(registry, "available", lambda: tuple(found))


@pytest.mark.usefixtures("two_runtimes")
@pytest.mark.parametrize(
    ("precision", "texts"),
    [
        (None, ("onnxruntime", "onnxruntime:precision=int8", "ncnn")),
        ("int8", ("onnxruntime:precision=int8", "ncnn:precision=int8")),
    ],
)
def test_a_machine_has_every_precision_of_its_runtimes(precision: str | None, texts: tuple[str, ...]) -> None:
    assert local_devices(precision) == texts


def test_all_devices_are_compared(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "local_devices", lambda precision: (*DEVICES, f"absent:precision={precision}"))
    done = run("latency", SMALL, "--all-devices", "--precision", "int8", "--json")
    rows = json.loads(done.out)
    assert done.code == 0
    assert [one["requested_device"] for one in rows] == [*DEVICES, "absent:precision=int8"]
    assert [one["problem"] for one in rows] == ["", "", "unknown device 'absent'"]
    assert "median_ms" not in rows[2]


def test_all_devices_and_some_exclude_each_other() -> None:
    with pytest.raises(OptionError, match="--device and --all-devices exclude each other"):
        measure(SMALL, device="simulated", all_devices=True)


def test_a_comparison_without_a_latency_fails(run: Run) -> None:
    done = run("latency", SMALL, "--device", "simulated:noise=9", "--device", "simulated:noise=8")
    assert done.code == 1
    assert "noise is 8" in done.out


def test_the_fastest_device_of_a_network_is_first() -> None:
    found = measure([SMALL, LARGE], device=["simulated:noise=9", *DEVICES])
    rows = measured_rows(found)
    assert [row[0] for row in rows.rows] == [SMALL] * 3 + [LARGE] * 3
    assert [row[1] for row in rows.rows][2::3] == ["simulated:noise=9"] * 2
    relative = [column.title for column in rows.columns].index("relative to the fastest")
    assert [row[relative] for row in rows.rows][::3] == ["1.00"] * 2


def test_one_device_has_the_table_of_latencies() -> None:
    assert measured_rows(measure(SMALL, device="simulated")).title == "latency"
