"""Compare the predicted share of each stage in the latency with its share in ONNX Runtime's profiler.

Run `mnv2search device-profile --device onnxruntime` first.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import onnxruntime as ort

from mnv2search.results.stages.explanation import Explanation
from mnv2search.workflows.compile import compile
from mnv2search.workflows.explain import explain
from mnv2search.workflows.make_spec import make_spec

NETWORKS = ("mobilenet_v2_1.0_224", "mobilenet_v2_0.5_160", "mnasnet_b1_1.0")
DRAWS, RUNS, WARM = 3, 60, 10
KERNEL = "_kernel_time"


def main() -> None:
    """Print the two shares of each stage, and their mean and largest differences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="profiled inferences of a network")
    runs = parser.parse_args().runs
    specs = [make_spec(name) for name in NETWORKS]
    specs += [make_spec("mnv2", random=True, seed=seed) for seed in range(DRAWS)]
    differences: dict[str, list[float]] = defaultdict(list)
    for spec in specs:
        explanation = explain(spec, device="onnxruntime", on_note=sys.exit)
        predicted, profiled_ms = explanation.predicted, profiled(explanation, runs=runs)
        assert predicted is not None
        total_ms, predicted_ms = sum(profiled_ms), predicted.latency.median_ms
        print(f"{spec.name}: {total_ms:.3f} ms in the profiler, {predicted_ms:.3f} ms predicted")
        for stage, measured, own in zip(explanation.stages, profiled_ms, predicted.stages_ms, strict=True):
            one, other = 100 * measured / total_ms, 100 * own / predicted_ms
            print(f"  {stage.at:14} {one:5.1f} % profiled  {other:5.1f} % predicted")
            differences["a row" if stage.at.startswith("blocks") else stage.at].append(other - one)
    for at, points in differences.items():
        largest, mean = max(points, key=abs), statistics.mean(map(abs, points))
        print(f"{at}: mean absolute difference {mean:.1f} points, largest {largest:+.1f} ({len(points)} stages)")


def profiled(explanation: Explanation, *, runs: int) -> list[float]:
    """Profiled time of each stage in ms, on one thread: the sum of the median times of its kernels."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.onnx"
        compile(explanation.plan.spec, output=file, no_fvcore=True)
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_profiling, options.profile_file_prefix = True, f"{folder}/profile"
        session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        source = session.get_inputs()[0]
        image = np.random.default_rng(0).random((1, *source.shape[1:]), dtype=np.float32)
        for _ in range(WARM + runs):
            session.run(None, {source.name: image})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    times: dict[str, list[float]] = defaultdict(list)
    for event in events:
        if event["name"].endswith(KERNEL):
            times[event["name"]].append(event["dur"])
    stages = [0.0] * len(explanation.stages)
    for name, durations_us in times.items():
        unit = name.partition("/")[0]
        # slim's layer_1 is the stem; kernels without a layer belong to the classifier
        number = (
            int(unit.removeprefix("layer_")) - 1 if unit.startswith("layer_") else len(explanation.plan.units) - 1
        )
        at = next(i for i, stage in enumerate(explanation.stages) if stage.units.start <= number < stage.units.stop)
        stages[at] += statistics.median(durations_us[WARM:]) / 1000
    return stages


if __name__ == "__main__":
    main()
