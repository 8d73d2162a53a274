"""A device is used by one process at a time."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fake_device import INFO, net

from mnv2search.errors import DeviceError
from mnv2search.latency.device import Device, SystemClock
from mnv2search.latency.measuring.exclusive import exclusive, lock_path
from mnv2search.latency.measuring.timing import Measurer, Settings
from mnv2search.latency.runtimes.simulated import SimulatedDevice
from mnv2search.latency.types import Runner
from mnv2search.spec.model_spec import ModelSpec

HOLDER = """
import sys
from mnv2search.latency.measuring.exclusive import exclusive
from mnv2search.latency.runtimes.simulated import SimulatedDevice
with exclusive(SimulatedDevice().info):
    print("held", flush=True)
    sys.stdin.read()
"""
QUICK = Settings(min_visits=1, max_visits=1, burst_ms=1, reference_burst_ms=1, warm_ms=1)


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """No other process of this machine measures in the same folder of temporary files."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield tmp_path
    monkeypatch.setattr(tempfile, "tempdir", None)


def is_locked(path: Path) -> bool:
    if not path.exists():
        return False
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


class Watching(Device):
    """A device that notes whether its lock is held while a network runs."""

    def __init__(self) -> None:
        super().__init__(INFO)
        self.held: list[bool] = []

    def prepare(self, spec: ModelSpec) -> Runner:
        return lambda: self.held.append(is_locked(lock_path(self.info)))


def test_a_device_is_locked_while_a_network_runs_and_free_between_visits() -> None:
    device = Watching()
    assert device.clock.wall_ns is SystemClock.wall_ns
    Measurer(device, QUICK).measure([net("a")])
    assert device.held
    assert all(device.held)
    assert not is_locked(lock_path(device.info))


def test_a_simulated_device_is_not_locked(own_folder: Path) -> None:
    Measurer(SimulatedDevice(), QUICK).measure([net("a")])
    assert not list(own_folder.iterdir())


def test_the_lock_of_a_killed_process_is_free() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert is_locked(lock_path(SimulatedDevice().info))
        holder.send_signal(signal.SIGKILL)
    with exclusive(SimulatedDevice().info):
        assert is_locked(lock_path(SimulatedDevice().info))


def test_hosts_and_pinned_processors_have_locks_of_their_own() -> None:
    names = [INFO, replace(INFO, host="ssh://pi@board:22"), replace(INFO, pinned="4-7"), replace(INFO, threads=2)]
    assert [lock_path(one).name for one in names] == [
        "local.lock",
        "ssh-pi-board-22.lock",
        "local-4-7.lock",
        "local.lock",
    ]


def test_a_folder_that_cannot_be_written_is_an_error_with_a_hint(own_folder: Path) -> None:
    (own_folder / f"mnv2search-{os.getuid()}").touch()
    with pytest.raises(DeviceError, match="cannot be locked") as refused, exclusive(INFO):
        pass
    assert refused.value.hint == "set TMPDIR to a folder that you can write to"
