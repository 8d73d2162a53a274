"""Time to the first useful front: whole processes of `mnv2search run`, from start to exit, with an empty cache.

Run: `python benchmarks/first_front.py [--latency-ms 15] [--times 30s 60s 90s] [--samplers hybrid tpe random]`

A front is useful if at least 8 networks are on it and one of them beats the best MobileNetV2 width x resolution that
is no slower, by the lower end of the estimated gain. Samplers take turns, so that a slow minute hits all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

USEFUL_MEMBERS = 8


def main() -> None:
    """Print a row a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency-ms", default="15")
    parser.add_argument("--times", nargs="+", default=["30s", "60s", "90s"])
    parser.add_argument("--samplers", nargs="+", default=["hybrid", "tpe", "random"])
    parser.add_argument("--device", default="onnxruntime")
    parser.add_argument("-o", "--output", type=Path, help="write the rows as JSON")
    arguments = parser.parse_args()
    rows = [
        row_of(arguments.latency_ms, length, sampler, arguments.device)
        for length in arguments.times
        for sampler in arguments.samplers
    ]
    Console(width=140).print(table_of(rows))
    if arguments.output:
        arguments.output.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def row_of(latency_ms: str, length: str, sampler: str, device: str) -> dict[str, Any]:
    """One run in a folder and with a cache of its own."""
    words = [
        "run",
        "--no-confirm",
        "--latency-ms",
        latency_ms,
        "--time",
        length,
        "--sampler",
        sampler,
        "--device",
        device,
        "--json",
    ]
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "MNV2SEARCH_CACHE": str(Path(folder) / "cache")}
        begin = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "mnv2search", *words],
            capture_output=True,
            text=True,
            cwd=folder,
            env=environment,
            check=False,
        )
        wall_s = time.monotonic() - begin
    if done.returncode not in (0, 3):
        raise SystemExit(done.stderr)
    found = json.loads(done.stdout)
    members = found["front"]
    gains = [member["gain"]["low"] for member in members if member["gain"]]
    best = max((member["accuracy"]["low"] for member in members), default=float("nan"))
    return {
        "time": length,
        "sampler": sampler,
        "wall_s": wall_s,
        "load": os.getloadavg()[0],
        "trials": found["trials"],
        "members": len(members),
        "best_low_percent": 100 * best,
        "best_gain_low_points": 100 * max(gains, default=float("nan")),
        "sampler_cpu_s": found["sampler_cpu_s"],
        "is_useful": len(members) >= USEFUL_MEMBERS and max(gains, default=-1.0) > 0,
    }


def table_of(rows: list[dict[str, Any]]) -> Table:
    """The rows with their units."""
    table = Table(title="Front of mnv2, from the start of the process to its end")
    for heading in (
        "--time",
        "sampler",
        "wall s",
        "load",
        "trials",
        "networks",
        "best lower bound %",
        "best gain, lower end, points",
        "sampler CPU s",
        "useful",
    ):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row["time"],
            row["sampler"],
            f"{row['wall_s']:.1f}",
            f"{row['load']:.1f}",
            str(row["trials"]),
            str(row["members"]),
            f"{row['best_low_percent']:.2f}",
            f"{row['best_gain_low_points']:+.2f}",
            f"{row['sampler_cpu_s']:.1f}",
            "yes" if row["is_useful"] else "no",
        )
    return table


if __name__ == "__main__":
    main()
