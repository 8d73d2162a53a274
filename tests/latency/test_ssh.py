"""Another machine over a real OpenSSH server, with what can go wrong."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sshd import Server, serving

from mnv2search.errors import DeviceError, OptionError
from mnv2search.export.arrays import layer_arrays, set_arbitrary
from mnv2search.latency.hosts.ssh import SshTransport
from mnv2search.latency.hosts.types import Completed, HostLostError, NoRoomError
from mnv2search.latency.registry import open_device
from mnv2search.latency.remote.base import Patience
from mnv2search.latency.remote.device import RemoteDevice
from mnv2search.latency.runtimes.onnxruntime import OnnxRuntime
from mnv2search.latency.types import BurstDevice, BurstRequest, LatencyDevice
from mnv2search.model.build import build
from mnv2search.spec.plan import plan
from mnv2search.testing.contracts import DeviceContract, network_of
from mnv2search.workflows.search.checks.confirm import ArtifactDevice


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from serving(tmp_path_factory.mktemp("sshd"))


@pytest.fixture
def server(running: Server) -> Iterator[Server]:
    yield running
    running.stop()
    running.trust()
    running.use_key("user")
    running.start()


def text_of(server: Server, *, extra: str = "") -> str:
    work = server.folder / "work"
    return f"onnxruntime:python={sys.executable},config={server.config},work={work}{extra}@ssh://{server.address}"


def transport_of(server: Server) -> SshTransport:
    return SshTransport(server.address, config=server.config, work=str(server.folder / "work"))


def request(*, resolution: int = 64, runs: int = 3) -> BurstRequest:
    return BurstRequest(network_of(resolution=resolution), burst_ms=1.0, warm_ms=0.0, min_runs=runs)


class TestRemoteDevice(DeviceContract):
    @pytest.fixture
    def device(self, running: Server) -> Iterator[LatencyDevice]:
        with open_device(text_of(running)) as device:
            yield device


def test_the_machine_says_what_it_is(running: Server) -> None:
    with open_device(text_of(running)) as device, open_device("onnxruntime") as local:
        assert replace(device.info, name="", host="") == replace(local.info, name="", host="")
        assert device.info.host == f"ssh://{running.address}"


def test_a_network_answers_over_there_as_it_does_here(running: Server) -> None:
    spec = network_of()
    model = build(spec, seed=0).eval()
    set_arbitrary(model)
    artifact = OnnxRuntime().lower(plan(spec), layer_arrays(model))
    with open_device(text_of(running)) as there, open_device("onnxruntime") as here:
        assert isinstance(there, ArtifactDevice)
        assert isinstance(here, ArtifactDevice)
        assert np.array_equal(there.output(artifact, spec), here.output(artifact, spec))


def test_files_are_copied_once(running: Server) -> None:
    transport = transport_of(running)
    transport.connect()
    transport.push({"once/file": b"first"})
    transport.push({"once/file": b"never looked at again"})
    transport.close()
    assert (running.folder / "work" / "once" / "file").read_bytes() == b"first"


def test_words_reach_the_program_as_they_are(running: Server) -> None:
    transport = transport_of(running)
    transport.connect()
    words = ["$(touch harm)", "a b", "'", '"', ";", "&&", "*", "\\", "é"]
    done = transport.run(["printf", "%s\n", *words], timeout_s=600)
    transport.close()
    assert done.output.splitlines() == words


def test_a_cut_connection_is_made_again_and_everything_asked_again(server: Server) -> None:
    waits: list[float] = []
    with RemoteDevice(
        OnnxRuntime(), transport_of(server), python=sys.executable, patience=Patience(sleep=waits.append)
    ) as device:
        device.bursts([request()])
        server.cut()
        (runs,) = device.bursts([request(resolution=96, runs=5)])
    assert len(runs) >= 5
    assert waits[0] == 1.0


def test_a_server_killed_in_the_middle_of_a_burst_is_waited_for(server: Server) -> None:
    begun = threading.Event()

    def sleep(_: float) -> None:
        if server.process is None:
            server.start()

    def kill() -> None:
        begun.wait()
        server.stop()

    killer = threading.Thread(target=kill)
    killer.start()
    with RemoteDevice(
        OnnxRuntime(), transport_of(server), python=sys.executable, patience=Patience(sleep=sleep)
    ) as device:
        begun.set()
        runs = device.bursts([replace_burst(request(), 400.0)] * 3)
    killer.join()
    assert [len(r) >= 3 for r in runs] == [True] * 3


def replace_burst(asked: BurstRequest, burst_ms: float) -> BurstRequest:
    return asked._replace(burst_ms=burst_ms)


def test_a_machine_that_stays_away_ends_the_measurement_and_says_how_to_go_on(server: Server) -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    patience = Patience(total_s=30.0, sleep=sleep, clock=lambda: now[0])
    with RemoteDevice(OnnxRuntime(), transport_of(server), python=sys.executable, patience=patience) as device:
        server.stop()
        with pytest.raises(DeviceError, match=r"has been unreachable for .* minutes") as raised:
            device.bursts([request()])
    assert "run the same command again" in raised.value.hint


def test_nothing_that_listens_is_an_error_at_once(server: Server) -> None:
    server.stop()
    with pytest.raises(HostLostError, match="Connection refused"):
        open_device(text_of(server))


def test_an_unknown_host_key_is_refused(server: Server) -> None:
    server.forget()
    with pytest.raises(DeviceError, match="cannot be used") as raised:
        open_device(text_of(server))
    assert not isinstance(raised.value, HostLostError)
    assert f"host key is not known: connect once with ssh -F {server.config}" in raised.value.hint


def test_another_host_key_is_refused(server: Server) -> None:
    server.trust("stranger")
    with pytest.raises(DeviceError, match="cannot be used") as raised:
        open_device(text_of(server))
    assert not isinstance(raised.value, HostLostError)


def test_a_key_that_the_machine_does_not_accept_is_refused(server: Server) -> None:
    server.use_key("stranger")
    with pytest.raises(DeviceError, match="Permission denied") as raised:
        open_device(text_of(server))
    assert not isinstance(raised.value, HostLostError)


def test_a_machine_without_that_python_is_told(running: Server) -> None:
    text = text_of(running).replace(sys.executable, "/nowhere/python3")
    with pytest.raises(DeviceError, match="the runner does not start on") as raised:
        open_device(text)
    assert "python=PATH" in raised.value.hint


def test_a_machine_without_the_runtime_is_told(running: Server, tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n', encoding="utf-8")
    bare.chmod(0o755)
    with pytest.raises(DeviceError, match="onnxruntime cannot be used on ssh://"):
        open_device(text_of(running).replace(sys.executable, str(bare)))


@pytest.mark.parametrize(
    ("extra", "match"),
    [(",threads=999", "threads is 999, but ssh://"), (",cores=little", "cores is 'little'"), (",cores=900", "cores")],
)
def test_what_the_machine_does_not_have_is_a_mistake_of_the_user(running: Server, extra: str, match: str) -> None:
    with pytest.raises(OptionError, match=match):
        open_device(text_of(running, extra=extra))


class Heard(SshTransport):
    """Runs nothing, and keeps what it would have run."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.lines: list[str] = []

    def _shell(self, line: str, *, timeout_s: float, given: bytes = b"") -> Completed:
        self.lines.append(line)
        return Completed(0, "", "")


def test_two_connections_to_one_home_folder_do_not_write_to_one_file() -> None:
    written = []
    for transport in (Heard("pi1"), Heard("pi2")):
        transport.push({"0123/model.onnx": b"1"})
        written.append(transport.lines[-1].partition("cat > ")[2].split()[0])
    assert written[0] != written[1]
    assert all(name.startswith("0123/model.onnx.") and name.endswith(".part") for name in written)


def test_a_full_disk_is_told_from_a_lost_machine() -> None:
    class Full(Heard):
        def _shell(self, line: str, *, timeout_s: float, given: bytes = b"") -> Completed:
            return Completed(1, "", "cat: write error: No space left on device")

    with pytest.raises(NoRoomError, match="cannot be copied to ssh://pi"):
        Full("pi").push({"0123/model.onnx": b"1"})


def test_a_full_disk_is_worth_another_try(running: Server) -> None:
    full = SshTransport(running.address, config=running.config, work="/dev/full/work")
    with pytest.raises(HostLostError, match="cannot be made"):
        full.connect()


@pytest.mark.parametrize(
    "address",
    ["-oProxyCommand=touch harm", "user@-v", "a b@host", "host:99999", "host:-1", "", "user@", "host;reboot", "$(x)"],
)
def test_an_address_that_ssh_could_misread_is_refused(address: str) -> None:
    with pytest.raises(OptionError, match=r"names no host|the port is"):
        SshTransport(address)


@pytest.mark.parametrize("name", ["../escape", "a/b/c", "-rf", "a;b", "a/$(b)", "/etc/passwd", ""])
def test_a_file_name_that_is_no_hash_is_refused(running: Server, name: str) -> None:
    with pytest.raises(ValueError, match="is not a valid name for a file"):
        transport_of(running).push({name: b""})


def test_leaving_ends_the_runner(running: Server) -> None:
    with open_device(text_of(running)) as device:
        assert isinstance(device, BurstDevice)
        device.bursts([request()])
    transport = transport_of(running)
    transport.connect()
    found = transport.run(["sh", "-c", "pgrep -f '[r]unner-.*pyz' | wc -l"], timeout_s=600)
    transport.close()
    assert found.output.strip() == "0"
