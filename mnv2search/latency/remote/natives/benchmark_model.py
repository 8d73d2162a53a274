"""`benchmark_model`, the program that measures a TFLite model on a phone or board."""

from __future__ import annotations

import re

from mnv2search.latency.remote.native import Native
from mnv2search.latency.runner.engine import Settings
from mnv2search.latency.types import BurstRequest, RunSummary

# Once for the untimed runs and once for the timed ones; times in microseconds. Programs since 2024 add p5, median and
# p95. Source: TensorFlow, tensorflow/lite/tools/benchmark and core/util/stats_calculator.h.
RUNS = re.compile(r"count=(?P<count>\d+)(?P<rest>(?: \w+=[-+.\w]+)*)")
WORD = re.compile(r"(\w+)=([-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)")
UNTIMED_RUNS = 2
# A network so slow that the fewest runs would take this long is cut short, as the program's own default does.
LONGEST_S = 150.0


class BenchmarkModel(Native):
    """TensorFlow Lite's and LiteRT's own program; it times by the wall clock.

    If it prints no median, the mean of the runs is used, and the slowest run for the 90th percentile.
    """

    name = "benchmark_model"

    def command(self, folder: str, settings: Settings, request: BurstRequest) -> list[str]:
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

    def summary(self, text: str) -> RunSummary:
        """The statistics of the timed runs, which it prints last.

        Raises:
            ValueError: there are none.
        """
        matches = list(RUNS.finditer(text))
        if len(matches) < 2:
            raise ValueError("it does not say what the untimed and the timed runs took")
        last = matches[-1]
        ms = {key: float(value) / 1000 for key, value in WORD.findall(last["rest"])}
        if "curr" in ms:  # the only number if all runs take equally long
            ms = dict.fromkeys(("min", "max", "avg"), ms["curr"]) | ms
        if not int(last["count"]) or not ms.keys() >= {"min", "max", "avg"}:
            raise ValueError(f"it says {last[0]!r} of the timed runs")
        return RunSummary(
            count=int(last["count"]),
            low_ms=ms.get("p5", ms["min"]),
            median_ms=ms.get("median", ms["avg"]),
            p90_ms=ms.get("p95", ms["max"]),
        )
