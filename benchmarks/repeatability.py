"""Spread of the same networks' latency over fresh processes, idle and with the other core busy.

Run: `python benchmarks/repeatability.py [--runs 10] [--load] [--pin] [--fresh] [--device onnxruntime] [--time 20s]
[--spec mobilenet_v2_1.0_224 ...] [--json FILE]`

Every run is a process of its own that measures all networks side by side, knows of the earlier ones what the cache
keeps (begun empty; --fresh: nothing), and keeps every single run's time. Printed are

* what the protocol reports: spread (largest over smallest, less one), standard deviation, and how often a process's
  95 % interval holds the median over all processes;
* the same relative to the network that is also the reference of the protocol, in the same process;
* what other statistics would have reported from the same runs;
* what the protocol would have reported after fewer visits.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mnv2search.cli.options import Duration
from mnv2search.latency.device import MeasuredDevice
from mnv2search.latency.measuring.estimate import LEVEL_QUANTILE, estimate, quantile, reference_level_ms, visit_of
from mnv2search.latency.measuring.timing import REFERENCE, Measurer, Settings
from mnv2search.latency.prediction.cache import LatencyCache
from mnv2search.latency.registry import open_device
from mnv2search.latency.runner.burst import burst
from mnv2search.latency.types import BurstRequest, Runner, RunnerDevice
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.yaml.codec import load_spec

SPECS = ("mobilenet_v2_1.0_224", "mobilenet_v2_0.5_160", "mobilenet_v2_0.35_96")
LIMITS = {"idle": 0.02, "busy": 0.05}
VISITS = (5, 10, 20, 40)
# Keeps one core and some of the shared cache busy: products of matrices of 4 MB.
LOAD = "import numpy as np\na = np.ones((1000, 1000), np.float32)\nwhile True:\n    a @ a"


class Recorder(MeasuredDevice):
    """A device that keeps every run it times."""

    round_trip = 1

    def __init__(self, device: RunnerDevice) -> None:
        self._device, self._info = device, device.info
        self._runners: dict[ModelSpec, Runner] = {}
        self.kept: list[tuple[str, list[tuple[int, int]]]] = []

    def _new_measurer(self) -> Measurer:
        return Measurer(self)

    def bursts(self, requests: Sequence[BurstRequest]) -> list[list[tuple[int, int]]]:
        """(wall, CPU) time in ns of the runs of each request."""
        found = []
        for request in requests:
            if request.spec not in self._runners:
                self._runners[request.spec] = self._device.prepare(request.spec)
            runs = burst(
                self._runners[request.spec],
                burst_ms=request.burst_ms,
                warm_ms=request.warm_ms,
                min_runs=request.min_runs,
            )
            self.kept.append((request.spec.name, runs))
            found.append(runs)
        return found


def child(names: Sequence[str], device: str, time_s: float, *, pin: bool, folder: Path) -> None:
    """One process: measure, and print the latencies and every run as JSON."""
    if pin:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    specs = [load_spec(name) for name in names]
    with open_device(device) as opened:
        assert isinstance(opened, RunnerDevice)
        recorder, cache = Recorder(opened), LatencyCache(folder)
        earlier = cache.load(opened.info).reference_ms
        measurer = Measurer(recorder, Settings(max_visits=400), earlier_reference_ms=earlier)
        latencies = measurer.measure(specs, time_s=time_s)
        cache.save(opened.info, reference_ms=measurer.reference_ms, observations=None)
    print(json.dumps({"latencies": [asdict(m) for m in latencies], "bursts": recorder.kept, "earlier": earlier}))


def visits_of(run: dict[str, Any], name: str) -> list[tuple[float, list[tuple[int, int]], float]]:
    """(level of the reference before, runs, level after) of each visit to a network."""
    bursts = run["bursts"]
    levels = [quantile([cpu / 1e6 for _, cpu in runs], LEVEL_QUANTILE) for _, runs in bursts]
    return [(levels[i - 1], runs, levels[i + 1]) for i, (of, runs) in enumerate(bursts) if of == name]


def reported(run: dict[str, Any], name: str, visits: int) -> float:
    """What the protocol says after the first `visits` visits to each network."""
    levels = [
        quantile([cpu / 1e6 for _, cpu in runs], LEVEL_QUANTILE) for of, runs in run["bursts"] if of == REFERENCE.name
    ]
    seen = [visit_of(runs, (a + b) / 2, by_cpu=True) for a, runs, b in visits_of(run, name)[:visits]]
    return estimate(seen, reference_level_ms(levels, run["earlier"]), earlier=len(run["earlier"])).median_ms


def relative_of(run: dict[str, Any], name: str) -> float:
    """Trimmed mean of the visits' ratios to the reference beside them, in units of the reference."""
    logs = sorted(
        math.log(quantile([cpu / 1e6 for _, cpu in runs], LEVEL_QUANTILE) / ((a + b) / 2))
        for a, runs, b in visits_of(run, name)
    )
    cut = len(logs) // 5
    return math.exp(statistics.fmean(logs[cut : len(logs) - cut]))


STATISTICS: dict[str, Callable[[dict[str, Any], str], float]] = {
    "the protocol": lambda run, name: reported(run, name, 10_000),
    "median of all wall times": lambda run, name: statistics.median(w / 1e6 for w, _ in _runs(run, name)),
    "median of all CPU times": lambda run, name: statistics.median(c / 1e6 for _, c in _runs(run, name)),
    "10 % quantile of all CPU times": lambda run, name: quantile([c / 1e6 for _, c in _runs(run, name)], 0.1),
    "smallest CPU time": lambda run, name: min(c / 1e6 for _, c in _runs(run, name)),
    "mean of all wall times": lambda run, name: statistics.fmean(w / 1e6 for w, _ in _runs(run, name)),
    "ratio to the reference beside it": relative_of,
}


def _runs(run: dict[str, Any], name: str) -> list[tuple[int, int]]:
    return [pair for _, runs, _ in visits_of(run, name) for pair in runs]


@contextlib.contextmanager
def load(busy: bool) -> Iterator[None]:
    """A process that keeps one core busy, or nothing."""
    if not busy:
        yield
        return
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-c", LOAD], env=environment) as process:
        try:
            yield
        finally:
            process.kill()


def spread(values: Sequence[float]) -> float:
    """The largest over the smallest, less one."""
    return max(values) / min(values) - 1


def deviation(values: Sequence[float]) -> float:
    """The relative standard deviation."""
    return statistics.stdev(values) / statistics.fmean(values)


def show(runs: Sequence[dict[str, Any]], names: Sequence[str], state: str) -> None:
    """Print every table."""
    by_name = {n: [run["latencies"][i] for run in runs] for i, n in enumerate(names)}
    device = runs[0]["latencies"][0]["device"]
    runtime = f"{device['runtime']} {device['runtime_version']}"
    print(f"\n{device['hardware']}, {runtime}, {device['threads']} thread, {state}")
    print("\n| network | median, ms | spread | standard deviation | relative to the reference | interval holds |")
    print("|---|---|---|---|---|---|")
    held = 0
    for name in names:
        medians = [latency["median_ms"] for latency in by_name[name]]
        middle = statistics.median(medians)
        inside = sum(m["ci_low_ms"] <= middle <= m["ci_high_ms"] for m in by_name[name])
        held += inside
        ratios = [relative_of(run, name) for run in runs]
        print(
            f"| {name} | {middle:.3f} | {spread(medians):.1%} | {deviation(medians):.2%} | "
            f"spread {spread(ratios):.1%}, deviation {deviation(ratios):.2%} | {inside} of {len(runs)} |"
        )
    print(f"\nspread at most {LIMITS[state]:.0%} asked; intervals hold {held / len(names) / len(runs):.0%}")
    print("\n| statistic: spread (deviation) over processes | " + " | ".join(names) + " |")
    print("|---|" + "---|" * len(names))
    for label, statistic in STATISTICS.items():
        found = {name: [statistic(run, name) for run in runs] for name in names}
        print(f"| {label} | " + " | ".join(f"{spread(v):.1%} ({deviation(v):.2%})" for v in found.values()) + " |")
    print("\n| visits: spread over processes | " + " | ".join(names) + " |")
    print("|---|" + "---|" * len(names))
    for visits in VISITS:
        cells = [f"{spread([reported(run, name, visits) for run in runs]):.1%}" for name in names]
        print(f"| {visits} | " + " | ".join(cells) + " |")


def main() -> None:
    """Run the processes and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--spec", nargs="+", default=SPECS, help="names of published networks")
    parser.add_argument("--device", default="onnxruntime")
    parser.add_argument("--time", default="20s")
    parser.add_argument("--load", action="store_true", help="keep one core busy")
    parser.add_argument("--pin", action="store_true", help="pin the measuring process to one core")
    parser.add_argument("--fresh", action="store_true", help="let no process know of the earlier ones")
    parser.add_argument("--json", type=Path, help="keep every single run's time here")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    time_s = Duration().convert(arguments.time, None, None)
    if arguments.child:
        child(arguments.spec, arguments.device, time_s, pin=arguments.pin, folder=arguments.child)
        return
    command = [sys.executable, __file__, "--device", arguments.device, "--time", arguments.time]
    command += ["--pin"] if arguments.pin else []
    runs = []
    with load(arguments.load), tempfile.TemporaryDirectory() as cache:
        for number in range(arguments.runs):
            before = os.getloadavg()[0]
            own = Path(cache) / str(number if arguments.fresh else 0)
            words = [*command, "--child", str(own), "--spec", *arguments.spec]
            done = subprocess.run(words, check=True, capture_output=True, text=True)
            runs.append(json.loads(done.stdout))
            cells = [
                f"{m['median_ms']:.3f} ms ±{(m['ci_high_ms'] - m['ci_low_ms']) / 2 / m['median_ms']:.1%}"
                + (" noisy" if m["noisy"] else "")
                for m in runs[-1]["latencies"]
            ]
            print(f"run {number + 1}, load average {before:.1f}: " + ", ".join(cells), flush=True)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(runs), encoding="utf-8")
    show(runs, arguments.spec, "busy" if arguments.load else "idle")


if __name__ == "__main__":
    main()
