"""A device over a real adb server, whose daemon is a double that speaks the wire protocol."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from adb_daemon import Daemon, adb_server

from mnv2search.errors import DeviceError, OptionError
from mnv2search.latency.hosts.adb import AdbTransport
from mnv2search.latency.hosts.types import HostLostError
from mnv2search.latency.registry import open_device
from mnv2search.latency.remote.base import Patience
from mnv2search.latency.remote.device import RemoteDevice
from mnv2search.latency.runtimes.onnxruntime import OnnxRuntime
from mnv2search.latency.types import BurstRequest, LatencyDevice
from mnv2search.testing.contracts import DeviceContract, network_of


@pytest.fixture(scope="module")
def adb() -> Iterator[str]:
    yield from adb_server()


@pytest.fixture
def phone() -> Iterator[Daemon]:
    daemon = Daemon()
    daemon.start()
    yield daemon
    daemon.stop()


def transport_of(phone: Daemon, adb: str, folder: Path) -> AdbTransport:
    return AdbTransport(phone.serial, work=str(folder / "work"), server=adb)


def text_of(phone: Daemon, adb: str, folder: Path) -> str:
    return f"onnxruntime:python={sys.executable},server={adb},work={folder / 'work'}@adb://{phone.serial}"


def request() -> BurstRequest:
    return BurstRequest(network_of(resolution=64), burst_ms=1.0, warm_ms=0.0, min_runs=3)


class TestAdbDevice(DeviceContract):
    @pytest.fixture
    def device(self, phone: Daemon, adb: str, tmp_path: Path) -> Iterator[LatencyDevice]:
        with open_device(text_of(phone, adb, tmp_path)) as device:
            yield device


def test_files_arrive_whole_and_once(phone: Daemon, adb: str, tmp_path: Path) -> None:
    transport = transport_of(phone, adb, tmp_path)
    transport.connect()
    content = bytes(range(256)) * 1000
    transport.push({"digest/model.bin": content})
    transport.push({"digest/model.bin": b"never looked at again"})
    assert (tmp_path / "work" / "digest" / "model.bin").read_bytes() == content
    assert sorted(p.name for p in (tmp_path / "work" / "digest").iterdir()) == ["model.bin"]


def test_words_reach_the_program_as_they_are(phone: Daemon, adb: str, tmp_path: Path) -> None:
    transport = transport_of(phone, adb, tmp_path)
    transport.connect()
    words = ["$(touch harm)", "a b", "'", '"', ";", "&&", "*", "\\"]
    assert transport.run(["printf", "%s\n", *words], timeout_s=600).output.splitlines() == words


def test_the_code_of_a_program_comes_back(phone: Daemon, adb: str, tmp_path: Path) -> None:
    transport = transport_of(phone, adb, tmp_path)
    transport.connect()
    assert transport.run(["sh", "-c", "exit 3"], timeout_s=600).code == 3


def test_a_full_storage_is_worth_another_try(phone: Daemon, adb: str, tmp_path: Path) -> None:
    transport = transport_of(phone, adb, tmp_path)
    transport.connect()
    phone.full = True
    with pytest.raises(HostLostError, match="does not take digest/file"):
        transport.push({"digest/file": b"content"})
    assert not (tmp_path / "work" / "digest" / "file").exists()


def test_a_device_that_reboots_is_waited_for(phone: Daemon, adb: str, tmp_path: Path) -> None:
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        phone.stop()
        phone.start()

    with RemoteDevice(
        OnnxRuntime(), transport_of(phone, adb, tmp_path), python=sys.executable, patience=Patience(sleep=sleep)
    ) as device:
        device.bursts([request()])
        phone.stop()
        (runs,) = device.bursts([request()])
    assert len(runs) >= 3
    assert waits[0] == 1.0


def test_a_device_that_asks_its_owner_first_says_so(adb: str, tmp_path: Path) -> None:
    shy = Daemon(allows=False)
    shy.start()
    with pytest.raises(DeviceError, match="does not allow this computer") as raised:
        transport_of(shy, adb, tmp_path).connect()
    shy.stop()
    assert raised.value.hint == "accept the question on its screen"


def test_a_device_that_is_not_attached_is_told_with_those_that_are(phone: Daemon, adb: str, tmp_path: Path) -> None:
    transport_of(phone, adb, tmp_path).connect()
    with pytest.raises(HostLostError, match=rf"not attached \(other devices: .*{phone.serial}"):
        AdbTransport("R58M123", server=adb).connect()


@pytest.mark.parametrize("serial", ["-s", "", "a b", "a;reboot", "$(x)"])
def test_a_serial_number_that_is_none_is_refused(serial: str) -> None:
    with pytest.raises(OptionError, match="names no device"):
        AdbTransport(serial)


@pytest.mark.parametrize("name", ["../escape", "-rf", "a;b", "/etc/passwd"])
def test_a_file_name_that_is_no_hash_is_refused(phone: Daemon, adb: str, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is not a valid name for a file"):
        transport_of(phone, adb, tmp_path).push({name: b""})
