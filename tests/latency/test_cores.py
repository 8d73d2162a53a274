"""Processors by name, and what the machine says of itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from mnv2search.errors import OptionError
from mnv2search.latency.registry import open_device
from mnv2search.latency.runner import identity
from mnv2search.latency.runner.cores import CoresError, chosen, named

ALLOWED = sorted(os.sched_getaffinity(0))


def write(root: Path, files: Mapping[str, str]) -> str:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return str(root)


def test_no_text_leaves_the_choice_to_the_system() -> None:
    assert chosen("") is None


@pytest.mark.parametrize("text", ["0,1", "fast", "3-1", "-1", "4096", "1-", "big,0"])
def test_a_text_that_names_no_processor_is_refused(text: str) -> None:
    with pytest.raises(CoresError, match="cores is"):
        chosen(text)


@pytest.mark.skipif(len(ALLOWED) < 2, reason="there is one processor only")
@pytest.mark.parametrize("kind", ["cpu_capacity", "cpufreq/cpuinfo_max_freq"])
def test_big_cores_are_those_of_the_highest_capacity_or_clock(tmp_path: Path, kind: str) -> None:
    speeds = {f"devices/system/cpu/cpu{core}/{kind}": "1024" if core == ALLOWED[-1] else "400" for core in ALLOWED}
    assert chosen("big", write(tmp_path, speeds)) == {ALLOWED[-1]}


def test_where_nothing_tells_speeds_all_cores_are_big(tmp_path: Path) -> None:
    assert chosen("big", str(tmp_path)) == set(ALLOWED)


@pytest.mark.parametrize(("cores", "text"), [({0}, "0"), ({0, 1, 2, 5}, "0-2+5"), ({1, 3}, "1+3")])
def test_cores_are_named_as_they_are_asked_for(cores: set[int], text: str) -> None:
    assert named(cores) == text


def test_a_local_device_keeps_to_its_cores_until_it_is_closed() -> None:
    with open_device(f"onnxruntime:cores={ALLOWED[0]}") as device:
        assert os.sched_getaffinity(0) == {ALLOWED[0]}
        assert device.info.pinned == str(ALLOWED[0])
        assert device.info.name == f"onnxruntime:threads=1,cores={ALLOWED[0]}"
    assert sorted(os.sched_getaffinity(0)) == ALLOWED


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("onnxruntime:cores=little", "cores is 'little'"),
        ("onnxruntime:python=python3", "has the option python, which is for other machines"),
        ("simulated:cores=0", "has the option cores, which is for runtimes"),
        ("onnxruntime@board", "which has no scheme"),
        ("simulated@ssh://board", "runs in this process only"),
    ],
)
def test_a_place_that_does_not_fit_the_device_is_refused(text: str, match: str) -> None:
    with pytest.raises(OptionError, match=match):
        open_device(text)


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("model name\t: Fast CPU\ncpu family\t: 25\nmodel\t\t: 17\nstepping\t: 1\n", "Fast CPU (25/17/1)"),
        ("processor\t: 0\nHardware\t: Qualcomm SM8550\n", "Qualcomm SM8550"),
        ("processor\t: 0\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n", "Raspberry Pi 4 Model B Rev 1.4"),
    ],
    ids=["x86", "phone", "board"],
)
def test_the_processor_is_named_as_the_system_names_it(tmp_path: Path, cpuinfo: str, expected: str) -> None:
    assert identity.processor(write(tmp_path, {"cpuinfo": cpuinfo})) == expected


def test_the_board_is_named_by_its_device_tree(tmp_path: Path) -> None:
    proc = write(tmp_path, {"device-tree/model": "Raspberry Pi 5 Model B\0"})
    assert identity.machine(proc, proc) == "Raspberry Pi 5 Model B"


def test_the_hottest_sensor_that_makes_sense_counts(tmp_path: Path) -> None:
    zones = {f"class/thermal/thermal_zone{n}/temp": t for n, t in enumerate(["41500", "-274000", "55250", "none"])}
    assert identity.temperature_c(write(tmp_path, zones)) == 55.25


def test_a_machine_without_sensors_has_no_temperature(tmp_path: Path) -> None:
    assert identity.temperature_c(str(tmp_path)) is None
