"""`benchmark_model`, the program that measures a TFLite model on a phone or board."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mnv2search.latency.remote.native import Native
from mnv2search.latency.types import BurstRequest, RunSummary

__all__ = ["BenchmarkModel"]

# Once for the untimed runs and once for the timed ones; times in microseconds. Programs since 2024 add p5, median and
# p95. Source: TensorFlow, tensorflow/lite/tools/benchmark and core/util/stats_calculator.h.
RUNS = re.compile(r"count=(?P<count>\d+)(?P<rest>(?: \w+=[-+.\w]+)*)")
WORD = re.compile(r"(\w+)=([-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)")
UNTIMED_RUNS = 2
# A network so slow that the fewest runs would take this long is cut short, as the program's own default does.
LONGEST_S = 150.0


class BenchmarkModel(Native):
    """TensorFlow Lite's and LiteRT's own program; it times by the clock on the wall.

    Where it tells no median, the mean of the runs stands in for it, and the slowest run for the 90th percentile.
    """

    name = "benchmark_model"

    def command(self, folder: str, settings: Mapping[str, Any], request: BurstRequest) -> list[str]:
        """The words that time a burst."""
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

    def summary(self, said: str) -> RunSummary:
        """The numbers of the timed runs, which it tells last.

        Raises:
            ValueError: there are none.
        """
        found = list(RUNS.finditer(said))
        if len(found) < 2:
            raise ValueError("it does not say what the untimed and the timed runs took")
        count = int(found[-1]["count"])
        told = {key: float(value) / 1000 for key, value in WORD.findall(found[-1]["rest"])}
        if "curr" in told:
            # Where all runs take equally long it says so, and nothing else.
            told = dict.fromkeys(("min", "max", "avg"), told["curr"]) | told
        if not count or not told.keys() >= {"min", "max", "avg"}:
            raise ValueError(f"it says {found[-1][0]!r} of the timed runs")
        return RunSummary(
            count=count,
            low_ms=told.get("p5", told["min"]),
            median_ms=told.get("median", told["avg"]),
            p90_ms=told.get("p95", told["max"]),
        )
