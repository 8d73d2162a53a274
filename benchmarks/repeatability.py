"""Spread of the same spec's latency over fresh processes of `mnv2search latency`.

Run: `python benchmarks/repeatability.py [--runs 5] [--spec mobilenet_v2_1.0_224 ...] [--device onnxruntime]
[--time 20s]`

Every run is a process of its own that measures all specs side by side. The spread is the largest median over the
smallest, less one. The load average stands beside each run, because on a machine with other work the runs differ.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys

SPECS = ("mobilenet_v2_1.0_224", "mobilenet_v2_0.5_160", "mobilenet_v2_0.35_96")
LIMIT = 0.03


def main() -> None:
    """Print a row a run and the spread of every spec."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--spec", nargs="+", default=SPECS, help="names or files of specs")
    parser.add_argument("--device", default="onnxruntime")
    parser.add_argument("--time", default="20s")
    arguments = parser.parse_args()
    command = [sys.executable, "-m", "mnv2search", "latency", *arguments.spec]
    command += ["--device", arguments.device, "--time", arguments.time, "--json"]
    print(" ".join(["mnv2search", *command[3:]]))
    found: dict[str, list[float]] = {}
    for run in range(arguments.runs):
        load = os.getloadavg()[0]
        measured = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        cells = []
        for entry in measured:
            found.setdefault(entry["name"], []).append(entry["median_ms"])
            half = (entry["ci_high_ms"] - entry["ci_low_ms"]) / 2 / entry["median_ms"]
            noisy = " noisy" if entry.get("noisy") else ""
            cells.append(f"{entry['name']} {entry['median_ms']:.3f} ms ±{half:.1%}{noisy}")
        print(f"run {run + 1}, load {load:.1f}: " + ", ".join(cells), flush=True)
        device = measured[0]["device"]
    print(f"\n{device['hardware']}, {device['runtime']} {device['runtime_version']}, {device['threads']} thread")
    for name, medians in found.items():
        spread = max(medians) / min(medians) - 1
        print(f"{name}: median {statistics.median(medians):.3f} ms, spread {spread:.1%} (at most {LIMIT:.0%})")


if __name__ == "__main__":
    main()
