"""Share of a long run that the sampler takes, with the default evaluator on a real device.

Run: `python benchmarks/sampler_share.py [--trials 1000] [--latency-ms 15] [--device onnxruntime]`
"""

from __future__ import annotations

import argparse
import os
import time

from mnv2search.study.types import Listener, Progress
from mnv2search.workflows.search.api import search


def main() -> None:
    """Run a search without a time limit and print where the time went."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--latency-ms", type=float, default=15.0)
    parser.add_argument("--device", default="onnxruntime")
    arguments = parser.parse_args()
    told = 0

    def progress(now: Progress) -> None:
        nonlocal told
        if now.trials >= told + 100:
            told = now.trials
            print(f"{now.trials} trials after {now.elapsed_s:.0f} s", flush=True)

    begin_cpu = time.process_time()
    result = search(
        "mnv2",
        budget=arguments.latency_ms,
        device=arguments.device,
        trials=arguments.trials,
        listener=Listener(evaluated=lambda _: None, progress=progress),
    )
    cpu_s = time.process_time() - begin_cpu
    sampler_s = result.sampler_cpu_s or 0.0
    print(
        f"{result.trials} trials, {result.predicted:,} predicted only: {result.elapsed_s:.0f} s wall, {cpu_s:.0f} s "
        f"CPU, sampler {sampler_s:.1f} s CPU ({100 * sampler_s / cpu_s:.0f} % of the CPU time, "
        f"{1000 * sampler_s / result.trials:.0f} ms a trial, describing candidates included); "
        f"{len(result.front)} networks on the front; load {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
