"""A double of TensorFlow Lite's `benchmark_model`: it really runs the model, and talks as that program does."""

from __future__ import annotations

import sys
from pathlib import Path

PROGRAM = """#!{python}
import sys, time
import numpy as np
from ai_edge_litert.interpreter import Interpreter

flags = dict(word[2:].split("=", 1) for word in sys.argv[1:])
unknown = flags.keys() - {{"graph", "num_threads", "use_xnnpack", "warmup_runs", "warmup_min_secs", "num_runs",
                          "min_secs", "max_secs"}}
if unknown:
    sys.exit("Unconsumed cmdline flags: " + " ".join(sorted(unknown)))
print("STARTING!")
try:
    network = Interpreter(flags["graph"], num_threads=int(flags["num_threads"]))
    network.allocate_tensors()
except ValueError as error:
    print("Failed to load model " + flags["graph"])
    sys.exit(1)


def runs(least, least_s):
    found, begin = [], time.perf_counter()
    while len(found) < least or time.perf_counter() - begin < least_s:
        at = time.perf_counter()
        network.invoke()
        found.append(round((time.perf_counter() - at) * 1e6))
    print(f"count={{len(found)}} first={{found[0]}} curr={{found[-1]}} min={{min(found)}} max={{max(found)}} "
          f"avg={{np.mean(found):g}} std={{np.std(found):.0f}}{percentiles}\\n")


runs(int(flags["warmup_runs"]), float(flags["warmup_min_secs"]))
runs(int(flags["num_runs"]), float(flags["min_secs"]))
print("Inference timings in us: Init: 1, First inference: 1, Warmup (avg): 1, Inference (avg): 1")
"""
PERCENTILES = " p5={np.percentile(found, 5):g} median={np.median(found):g} p95={np.percentile(found, 95):g}"


def write_benchmark_model(folder: Path, *, percentiles: bool = False) -> Path:
    """The program in a folder, able to run."""
    path = folder / "benchmark_model"
    path.write_text(
        PROGRAM.format(python=sys.executable, percentiles=PERCENTILES if percentiles else ""), encoding="utf-8"
    )
    path.chmod(0o755)
    return path
