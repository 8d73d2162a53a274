"""Measuring by a runtime's own benchmark program on another machine, for phones and boards without Python."""

from __future__ import annotations

import re
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from mnv2search.errors import DeviceError, OptionError
from mnv2search.latency.hosts.types import HostLostError, Transport
from mnv2search.latency.remote.base import ANSWER_S, BURST_FACTOR, HostedDevice, Patience
from mnv2search.latency.runner import cores, identity
from mnv2search.latency.runner.engine import Settings
from mnv2search.latency.runtime import Runtime
from mnv2search.latency.types import BurstRequest, DeviceInfo, RunSummary

# Minimum length of a burst. Each burst starts a program and loads a network, and begins at a low clock rate.
LEAST_BURST_MS = 150.0
LEAST_WARM_MS = 50.0
# Number of networks whose files stay on the machine.
ARTIFACTS = 100
QUESTION_S = 30.0
COMPLAINT_LINES = 4

# A shell script that prints the files that describe the system, each after a line with its name. It is constant.
IDENTITY = r"""
for f in /proc/cpuinfo /proc/device-tree/model /proc/self/status /etc/os-release \
    /sys/class/dmi/id/product_name /sys/class/thermal/thermal_zone*/temp \
    /sys/devices/system/cpu/cpu[0-9]*/cpu_capacity \
    /sys/devices/system/cpu/cpu[0-9]*/cpufreq/cpuinfo_max_freq \
    /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor
do [ -r "$f" ] && { echo "@@ $f"; cat "$f" 2>/dev/null; echo; }; done
echo "@@ uname"; uname -sr; echo "@@ architecture"; uname -m
echo "@@ phone"; for p in ro.product.manufacturer ro.product.model ro.soc.model; do getprop $p 2>/dev/null; done
true
"""
# A shell script that removes the least recently used folders of artifacts, whose names are forty hex digits.
PRUNE = rf"""
ls -t | grep -E '^[0-9a-f]{{40}}$' | sed -n '{ARTIFACTS + 1},$p' | while read -r d; do rm -rf "./$d"; done
"""
# The statistics, printed once for the untimed runs and once for the timed runs, in microseconds. Programs since 2024
# add p5, median and p95. Source: TensorFlow, tensorflow/lite/tools/benchmark and core/util/stats_calculator.h.
RUNS = re.compile(r"count=(?P<count>\d+)(?P<rest>(?: \w+=[-+.\w]+)*)")
WORD = re.compile(r"(\w+)=([-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)")
UNTIMED_RUNS = 2
# Maximum time of a burst, even if the network is too slow for the minimum of runs; the program's own default.
LONGEST_S = 150.0


class Native(ABC):
    """The command line and the output of a benchmark program."""

    name: ClassVar[str]
    """Name of the program, such as ``benchmark_model``."""

    @abstractmethod
    def command(self, folder: str, settings: Settings, request: BurstRequest) -> list[str]:
        """The program's arguments for timing a burst of the artifact whose files are in `folder`."""

    @abstractmethod
    def summary(self, text: str) -> RunSummary:
        """The statistics of the timed runs, from the program's output; a ValueError if there are none."""


class BenchmarkModel(Native):
    """The benchmark program of TensorFlow Lite and LiteRT, which measures wall time.

    If the program prints no median, the mean of the runs is used, and the slowest run for the 90th percentile.
    """

    name = "benchmark_model"

    def command(self, folder: str, settings: Settings, request: BurstRequest) -> list[str]:
        """The arguments, as ``--key=value``."""
        return [
            f"--graph={folder}/model.tflite",
            f"--num_threads={settings['threads']}",
            "--use_xnnpack=true",
            f"--warmup_runs={UNTIMED_RUNS}",
            f"--warmup_min_secs={request.warm_ms / 1000:g}",
            f"--num_runs={request.min_runs}",
            f"--min_secs={request.burst_ms / 1000:g}",
            f"--max_secs={LONGEST_S:g}",
        ]

    def summary(self, text: str) -> RunSummary:
        """The statistics of the timed runs, which the program prints last."""
        matches = list(RUNS.finditer(text))
        if len(matches) < 2:
            raise ValueError("it does not report the times of the untimed and the timed runs")
        last = matches[-1]
        ms = {key: float(value) / 1000 for key, value in WORD.findall(last["rest"])}
        if "curr" in ms:  # the only value if all runs take equally long
            ms = dict.fromkeys(("min", "max", "avg"), ms["curr"]) | ms
        if not int(last["count"]) or not ms.keys() >= {"min", "max", "avg"}:
            raise ValueError(f"it reports {last[0]!r} for the timed runs")
        return RunSummary(
            count=int(last["count"]),
            low_ms=ms.get("p5", ms["min"]),
            median_ms=ms.get("median", ms["avg"]),
            p90_ms=ms.get("p95", ms["max"]),
        )


class NativeDevice(HostedDevice):
    """A runtime on another machine, whose own benchmark program at the path `binary` runs networks.

    The program is pinned to processors by ``taskset``; see `HostedDevice`.
    """

    round_trip = 1

    def __init__(
        self,
        runtime: Runtime,
        native: Native,
        transport: Transport,
        *,
        binary: str,
        cores: str = "",
        options: Sequence[str] = (),
        patience: Patience | None = None,
    ) -> None:
        self._native, self._binary = native, binary
        self._pinning: list[str] = []
        self._connected = False
        super().__init__(runtime, transport, cores=cores, options=options, patience=patience)

    def bursts(self, requests: Sequence[BurstRequest]) -> list[RunSummary]:
        """The statistics of the runs of each request, one after the other."""
        return [self._burst(request) for request in requests]

    def _burst(self, asked: BurstRequest) -> RunSummary:
        request = asked._replace(
            burst_ms=max(asked.burst_ms, LEAST_BURST_MS), warm_ms=max(asked.warm_ms, LEAST_WARM_MS)
        )
        artifact = self._artifact(request.spec)
        words = self._native.command(artifact.digest, self.runtime.settings(request.spec), request)
        timeout_s = ANSWER_S + BURST_FACTOR * (request.burst_ms + request.warm_ms) / 1000

        def attempt() -> tuple[int, str]:
            self._push([artifact])
            done = self._transport.run([*self._pinning, self._binary, *words], timeout_s=timeout_s)
            return done.code, f"{done.output}\n{done.errors}"

        code, text = self._retried(attempt)
        if code != 0:
            raise DeviceError(f"{self._info.name} does not run {request.spec.name}: {_end(text, code)}")
        try:
            return self._native.summary(text)
        except ValueError as error:
            raise DeviceError(
                f"{self._binary} on {self._transport.name} has other output than {self._native.name}: {error}",
                hint=f"the option binary is the path of {self._native.name}",
            ) from error

    def _opened(self) -> DeviceInfo:
        self._connected = True
        version = self._version()
        self._asked("sh", "-c", PRUNE)
        with tempfile.TemporaryDirectory(prefix="mnv2search-") as folder:
            report = _MachineReport(self._asked("sh", "-c", IDENTITY), Path(folder))
            found: identity.Identity = {
                "processor": identity.processor(report.proc, report.architecture),
                "system": report.system,
                "machine": report.phone or identity.machine(report.proc, report.sys),
                "cores": report.processors,
                "governor": identity.governor(report.sys),
                "temperature_c": identity.temperature_c(report.sys),
            }
            return self._described(found, version=version, pinned=self._pinned(report))

    def _version(self) -> str:
        """The program's name and checksum, since the program does not print its version."""
        words = self._asked("cksum", self._binary, may_fail=True).split()
        if len(words) < 3 or not words[0].isdigit():
            raise DeviceError(
                f"there is no program {self._binary} on {self._transport.name}",
                hint=f"copy {self._native.name} there and make it executable, and give its path with binary=PATH",
            )
        return f"{self._native.name} {words[0]}"

    def _pinned(self, report: _MachineReport) -> str:
        try:
            chosen = cores.chosen(self._cores, report.sys, report.allowed)
        except cores.CoresError as error:
            raise OptionError(f"device {self.runtime.name}@{self._transport.name}: {error}") from error
        if chosen is None:
            return ""
        self._pinning = ["taskset", f"{sum(1 << core for core in chosen):x}"]
        return cores.named(chosen)

    def _asked(self, *words: str, may_fail: bool = False) -> str:
        done = self._transport.run(list(words), timeout_s=QUESTION_S)
        if done.code != 0 and not may_fail:
            raise HostLostError(f"{self._transport.name} does not run {words[0]}: {_end(done.errors, done.code)}")
        return done.output

    def _reconnect(self) -> None:
        if not self._connected:
            self._transport.connect()
            self._connected = True

    def _drop(self) -> None:
        self._connected = False
        super()._drop()


class _MachineReport:
    """The output of `IDENTITY`, as files below a folder for `mnv2search.latency.runner` to read."""

    def __init__(self, text: str, folder: Path) -> None:
        sections: dict[str, list[str]] = {}
        lines: list[str] = []
        for line in text.replace("\r", "").splitlines():
            if line.startswith("@@ "):
                lines = sections.setdefault(line[3:], [])
            else:
                lines.append(line)
        parts = {name: "\n".join(lines).strip("\0\n ") for name, lines in sections.items()}
        self.proc, self.sys = str(folder / "proc"), str(folder / "sys")
        for name, part in parts.items():
            if name.startswith(("/proc/", "/sys/")) and ".." not in name:
                path = folder / name.lstrip("/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(part, encoding="utf-8")
        self.architecture = parts.get("architecture", "")
        self.phone = " ".join(parts.get("phone", "").split())
        release = parts.get("/etc/os-release", "").splitlines()
        pretty = [line.partition("=")[2].strip('"') for line in release if line.startswith("PRETTY_NAME=")]
        self.system = ", ".join([*pretty[:1], parts.get("uname", "")])
        self.processors = max(1, sum(x.startswith("processor") for x in parts.get("/proc/cpuinfo", "").splitlines()))
        self.allowed = _allowed(parts.get("/proc/self/status", "")) or set(range(self.processors))


def _allowed(status: str) -> set[int]:
    """The processors that a process may use, by its status in the kernel; empty if the status does not list them."""
    processors: set[int] = set()
    for line in status.splitlines():
        if line.startswith("Cpus_allowed_list:"):
            for part in line.partition(":")[2].strip().split(","):
                first, _, last = part.partition("-")
                if first.isdigit() and (last or first).isdigit():
                    processors.update(range(int(first), int(last or first) + 1))
    return processors


def _end(text: str, code: int) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-COMPLAINT_LINES:]) or f"it ends with code {code} and no output"
