"""Where the latency of networks goes, by the profilers of runtimes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import pytest

from mnv2search.errors import RecordError
from mnv2search.latency.device import Device
from mnv2search.latency.registry import open_device
from mnv2search.latency.types import DeviceInfo, Runner
from mnv2search.results.stages.block_times import BlockTimes, read_block_times, write_block_times
from mnv2search.spec.catalog import catalog
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import plan
from mnv2search.testing.contracts import network_of
from mnv2search.workflows.devices.block_times import TIME_S, block_times, block_times_of

NETWORK = network_of(resolution=64)
DETECTOR = next(entry.spec for entry in catalog() if entry.name == "ssdlite_mobilenet_v2")


class Profiled(Device):
    """A device whose profiler answers the same for every network."""

    def __init__(self, steps_ms: Mapping[str, float]) -> None:
        super().__init__(DeviceInfo(name="mine", hardware="none", runtime="mine", runtime_version="2"))
        self._steps_ms = steps_ms

    def prepare(self, spec: ModelSpec) -> Runner:
        raise AssertionError(f"{spec.name} is only profiled")

    def step_times(self, spec: ModelSpec, *, runs: int) -> Mapping[str, float]:
        del spec, runs
        return self._steps_ms


def test_steps_are_added_up_by_unit() -> None:
    steps = {
        "layer_1/Clip_6_nchwc": 1.0,
        "layer_1/Conv_3/WithoutBiases": 2.0,
        "classifier/Conv_9": 4.0,
        "output": 8.0,
    }
    found = block_times(Profiled(steps), NETWORK)
    assert found is not None
    assert (found.units_ms[0], found.units_ms[-1], found.other_ms, found.total_ms) == (3.0, 12.0, 0.0, 15.0)
    assert (found.network, found.runtime) == (NETWORK.name, "mine 2")


def test_steps_of_no_unit_are_others() -> None:
    found = block_times(Profiled({"ReorderOutput": 1.0, "layer_99/Conv_3": 2.0, "/QuantizeLinear_3": 4.0}), NETWORK)
    assert found is not None
    assert (sum(found.units_ms), found.other_ms) == (0.0, 7.0)


def test_parts_of_a_head_are_told_apart() -> None:
    found = block_times(Profiled({"head/boxes_1/Conv_3": 1.0, "head/scores_1/Conv_3_nchwc": 2.0}), DETECTOR)
    assert found is not None
    times = {unit.name: ms for unit, ms in zip(plan(DETECTOR).units, found.units_ms, strict=True) if ms}
    assert times == {"head/boxes_1": 1.0, "head/scores_1": 2.0}


def test_a_device_without_a_profiler_has_no_times() -> None:
    with open_device("simulated") as device:
        assert block_times(device, NETWORK) is None
        assert block_times_of(device, [NETWORK]) == ()
    assert block_times(Profiled({}), NETWORK) is None


def test_networks_are_left_out_when_the_time_is_over() -> None:
    device, seconds = Profiled({"layer_1/Conv_3": 1.0}), itertools.count(0, TIME_S / 2)
    found = block_times_of(device, [NETWORK, DETECTOR, NETWORK], clock=lambda: float(next(seconds)))
    assert [one.network for one in found] == [NETWORK.name, DETECTOR.name]


@pytest.mark.parametrize(
    ("device", "package"),
    [("onnxruntime", "onnxruntime"), ("onnxruntime:precision=int8", "onnxruntime"), ("openvino", "openvino")],
)
def test_a_runtime_times_every_unit(device: str, package: str) -> None:
    pytest.importorskip(package)
    with open_device(device) as opened:
        found = block_times(opened, NETWORK, runs=3)
    assert found is not None
    assert len(found.units_ms) == len(plan(NETWORK).units)
    assert min(found.units_ms) > 0


def test_times_are_read_as_they_were_written(tmp_path: Path) -> None:
    times = (BlockTimes(network="a", units_ms=(0.5, 1.25), other_ms=0.1, runs=20, runtime="mine 2"),)
    write_block_times(tmp_path / "times.json", times)
    assert read_block_times(tmp_path / "times.json") == times
    assert read_block_times(tmp_path / "missing.json") == ()


@pytest.mark.parametrize("text", ["", "[{}]", '[{"network": 1}]'], ids=["empty", "without fields", "a number"])
def test_a_damaged_file_is_an_error(text: str, tmp_path: Path) -> None:
    (tmp_path / "times.json").write_text(text)
    with pytest.raises(RecordError, match=r"times\.json: cannot be read"):
        read_block_times(tmp_path / "times.json")
