"""A benchmark program on another machine: what it is asked, what it says, and what can go wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest
from adb_daemon import Daemon, adb_server
from benchmark_model import write_benchmark_model
from fake_transport import FakeTransport
from sshd import Server, serving

from mnv2search.errors import DeviceError, OptionError
from mnv2search.latency.hosts.types import Channel, Completed, HostLostError
from mnv2search.latency.measuring.estimate import level_ms, visit_of
from mnv2search.latency.measuring.timing import Measurer, Settings
from mnv2search.latency.registry import open_device
from mnv2search.latency.remote.base import Patience
from mnv2search.latency.remote.native import BenchmarkModel, NativeDevice
from mnv2search.latency.runtimes.litert import LiteRt
from mnv2search.latency.types import BurstRequest, LatencyDevice, RunSummary
from mnv2search.testing.contracts import DeviceContract, network_of

needs_litert = pytest.mark.skipif(find_spec("ai_edge_litert") is None, reason="LiteRT is not installed")
UNTIMED = "count=15 first=49060 curr=33682 min=32825 max=49060 avg=34825.1 std=3930\n"
TIMED = "count=50 first=32891 curr=33978 min=32641 max=34005 avg=33209.4 std=450\n"
PHONE = """@@ /proc/cpuinfo
processor\t: 0
CPU implementer\t: 0x41
CPU part\t: 0xd05
processor\t: 1
CPU part\t: 0xd05
processor\t: 2
CPU part\t: 0xd0b

@@ /proc/self/status
Cpus_allowed_list:\t0-2
@@ /sys/class/thermal/thermal_zone0/temp
41500
@@ /sys/devices/system/cpu/cpu0/cpu_capacity
250
@@ /sys/devices/system/cpu/cpu1/cpu_capacity
250
@@ /sys/devices/system/cpu/cpu2/cpu_capacity
1024
@@ /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor
schedutil
@@ uname
Linux 5.10.157-android13
@@ architecture
aarch64
@@ phone
Google
Pixel 7
GS201
"""


def request() -> BurstRequest:
    return BurstRequest(network_of(resolution=64), burst_ms=1.0, warm_ms=0.0, min_runs=3)


class Phone(FakeTransport):
    """A transport to a phone; `said` is what the program says in turn, or what breaks."""

    name = "fake://phone"

    def __init__(self, said: Sequence[str | int | Exception] = ()) -> None:
        super().__init__()
        self.said = list(said)
        self.asked: list[list[str]] = []
        self.has_program = True

    def start(self, command: Sequence[str]) -> Channel:
        raise NotImplementedError

    def run(self, command: Sequence[str], *, timeout_s: float) -> Completed:
        if command[0] == "cksum":
            return Completed(0, f"4038471504 75 {command[1]}\n" if self.has_program else "", "")
        if command[0] == "sh":
            return Completed(0, PHONE if "@@" in command[2] else "", "")
        self.asked.append(list(command))
        said = self.said.pop(0) if self.said else UNTIMED + TIMED
        if isinstance(said, Exception):
            raise said
        return Completed(said, "", "it broke\n") if isinstance(said, int) else Completed(0, said, "")


def device_on(phone: Phone, *, sleep: Callable[[float], None] = lambda _: None, cores: str = "") -> NativeDevice:
    return NativeDevice(
        LiteRt(), BenchmarkModel(), phone, binary="/data/bench", cores=cores, patience=Patience(sleep=sleep)
    )


def test_the_timed_runs_are_told_last() -> None:
    found = BenchmarkModel().summary(f"STARTING!\n{UNTIMED}\nRunning benchmark\n{TIMED}\nInference timings in us: 1")
    assert found == RunSummary(count=50, low_ms=32.641, median_ms=33.2094, p90_ms=34.005)


def test_percentiles_are_taken_where_they_are_told() -> None:
    timed = TIMED.replace("\n", " p5=32700 median=33100 p95=33900\n")
    found = BenchmarkModel().summary(UNTIMED + timed)
    assert found == RunSummary(count=50, low_ms=32.7, median_ms=33.1, p90_ms=33.9)


def test_runs_that_take_equally_long() -> None:
    found = BenchmarkModel().summary(UNTIMED + "count=3 curr=4000(all same)\n")
    assert found == RunSummary(count=3, low_ms=4.0, median_ms=4.0, p90_ms=4.0)


@pytest.mark.parametrize("said", ["", UNTIMED, f"{UNTIMED}count=0\n", f"{UNTIMED}count=7 min=3\n"])
def test_a_program_that_says_something_else_is_told_of(said: str) -> None:
    with pytest.raises(DeviceError, match="has other output than benchmark_model") as raised:
        device_on(Phone([said])).bursts([request()])
    assert raised.value.hint == "the option binary is the path of benchmark_model"


def test_a_summary_makes_a_visit() -> None:
    summary = RunSummary(count=50, low_ms=4.0, median_ms=4.2, p90_ms=5.0)
    assert level_ms(summary, by_cpu=True) == 4.0
    visit = visit_of(summary, 2.0, by_cpu=True)
    assert (visit.level_ms, visit.median_ms, visit.p90_ms, visit.reference_ms) == (4.0, 4.2, 5.0, 2.0)
    assert (visit.samples, visit.dropped, len(summary)) == (50, 0, 50)


def test_the_phone_says_what_it_is() -> None:
    info = device_on(Phone()).info
    assert (info.hardware, info.machine, info.system) == (
        "aarch64 0x41/0xd05",
        "Google Pixel 7 GS201",
        "Linux 5.10.157-android13",
    )
    assert (info.cores, info.governor, info.temperature_c) == (3, "schedutil", 41.5)
    assert (info.runtime, info.runtime_version, info.host) == ("litert", "benchmark_model 4038471504", "fake://phone")


def test_big_cores_are_asked_for_by_a_mask() -> None:
    phone = Phone()
    device = device_on(phone, cores="big")
    device.bursts([request()])
    assert device.info.pinned == "2"
    assert phone.asked[0][:3] == ["taskset", "4", "/data/bench"]


def test_a_burst_is_worth_the_start_of_a_program() -> None:
    phone = Phone()
    device_on(phone).bursts([request()])
    (words,) = phone.asked
    assert "--min_secs=0.15" in words
    assert "--warmup_min_secs=0.05" in words
    assert "--num_threads=1" in words
    assert f"--graph={phone.pushed[0]}" in words


def test_a_program_that_is_not_there() -> None:
    phone = Phone()
    phone.has_program = False
    with pytest.raises(DeviceError, match="there is no program /data/bench on fake://phone"):
        device_on(phone)


def test_a_program_that_fails_says_why() -> None:
    with pytest.raises(DeviceError, match="does not run contract: it broke"):
        device_on(Phone([1])).bursts([request()])


def test_cores_that_the_phone_lacks() -> None:
    with pytest.raises(OptionError, match="cores is '7', but the allowed processors are 0-2"):
        device_on(Phone(), cores="7")


def test_more_threads_than_processors() -> None:
    with pytest.raises(OptionError, match="threads is 4, but fake://phone has 3 processors"):
        NativeDevice(LiteRt(threads=4), BenchmarkModel(), Phone(), binary="/data/bench")


def test_a_lost_phone_is_asked_again() -> None:
    phone, waits = Phone([HostLostError("cable"), HostLostError("cable")]), list[float]()
    (found,) = device_on(phone, sleep=waits.append).bursts([request()])
    assert found.count == 50
    assert waits == [1.0, 2.0]
    assert phone.connected == 3
    assert len(phone.pushed) == 3


def test_the_loop_measures_by_summaries() -> None:
    (found,) = Measurer(device_on(Phone()), Settings(min_visits=2, max_visits=4)).measure([network_of()])
    assert found.median_ms == pytest.approx(33.2094, rel=1e-3)
    assert found.samples == 50 * 4


def test_a_runtime_without_such_a_program() -> None:
    with pytest.raises(OptionError, match="no benchmark program of onnxruntime is known"):
        open_device("onnxruntime:binary=/data/x@ssh://nowhere")


def test_a_program_and_a_python_are_one_too_many() -> None:
    with pytest.raises(OptionError, match="both of the options binary and python"):
        open_device("litert:binary=/data/x,python=python3@ssh://nowhere")


def test_a_program_on_this_machine_is_refused() -> None:
    with pytest.raises(OptionError, match="has the option binary, which is for other machines"):
        open_device("litert:binary=/data/x")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from serving(tmp_path_factory.mktemp("sshd"))


@needs_litert
class TestOverSsh(DeviceContract):
    @pytest.fixture
    def device(self, server: Server) -> Iterator[LatencyDevice]:
        binary = write_benchmark_model(server.folder)
        text = f"litert:binary={binary},config={server.config},work={server.folder / 'work'}@ssh://{server.address}"
        with open_device(text) as device:
            yield device


@needs_litert
def test_over_adb(tmp_path: Path) -> None:
    daemon = Daemon()
    daemon.start()
    for adb in adb_server():
        binary = write_benchmark_model(tmp_path, percentiles=True)
        text = f"litert:binary={binary},server={adb},work={tmp_path / 'work'}@adb://{daemon.serial}"
        with open_device(text) as device:
            assert isinstance(device, NativeDevice)
            (found,) = device.bursts([request()])
            assert found.count >= 3
            assert 0 < found.low_ms <= found.median_ms <= found.p90_ms
    daemon.stop()
