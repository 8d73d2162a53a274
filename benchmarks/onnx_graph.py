"""Processor time from a spec to a measurable ONNX model: straight from the plan, against `torch.onnx.export`.

Run: `python benchmarks/onnx_graph.py [--repeats 15] [--spec mobilenet_v2 ...] [--no-dynamo]`

Ours is timed from the spec on: plan, arbitrary weights, graph, bytes. For the exporters the folded module is built
beforehand, untimed. One thread; process CPU time, so that other work on the machine does not count; the first run of
ours, with nothing remembered, is given by itself. Parity is the largest difference between graph and module over the
largest output, with the module's own weights.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime as ort
import torch

from mnv2search.export.arrays import layer_arrays
from mnv2search.latency.device import processor
from mnv2search.lowering.onnx.model import INPUT, onnx_bytes
from mnv2search.model.build import build
from mnv2search.model.fold import fold
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import plan
from mnv2search.spec.yaml.codec import load_spec

SPECS = ("mobilenet_v2", "mobilenetv2_035", "mobilenetv2_140", "mnasnet_b1_1.0", "efficientnet_lite0")
LIMIT_MS = 50.0
LIMIT_PARITY = 1e-4


def main() -> None:
    """Print a row a network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--spec", nargs="+", default=SPECS, help="names or files of specs")
    parser.add_argument("--no-dynamo", action="store_true", help="leave out the slower exporter")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(f"{processor()}; torch {torch.__version__}, onnx {onnx.__version__}, onnxruntime {ort.__version__}")
    print(f"process CPU time in ms, one thread, median (largest) of {arguments.repeats}; exporters once\n")
    columns = "{:<20} {:>10} {:>8} {:>8} {:>10} {:>12} {:>12} {:>9}"
    print(columns.format("network", "ours", "largest", "first", "session", "export trace", "dynamo", "parity"))
    without_dynamo = arguments.no_dynamo or importlib.util.find_spec("onnxscript") is None
    worst_ms = worst_parity = 0.0
    for name in arguments.spec:
        spec = load_spec(name)
        first = spent_ms(partial(ours, spec))
        often = [spent_ms(partial(ours, spec)) for _ in range(arguments.repeats)]
        model = onnx_bytes(plan(spec))
        session = statistics.median(spent_ms(partial(session_of, model)) for _ in range(3))
        traced = spent_ms(partial(exported, spec, dynamo=False))
        dynamo = float("nan") if without_dynamo else spent_ms(partial(exported, spec, dynamo=True))
        difference = parity(spec)
        worst_ms, worst_parity = max(worst_ms, statistics.median(often)), max(worst_parity, difference)
        cells = [f"{v:.1f}" for v in (statistics.median(often), max(often), first, session)]
        print(
            columns.format(
                spec.name[:20],
                *cells,
                f"{traced:.0f}",
                "-" if without_dynamo else f"{dynamo:.0f}",
                f"{difference:.0e}",
            )
        )
    if without_dynamo and not arguments.no_dynamo:
        print("\ndynamo: needs the package onnxscript, which is not installed")
    print(f"\nlargest median {worst_ms:.1f} ms (at most {LIMIT_MS:g})")
    print(f"largest difference {worst_parity:.0e} (at most {LIMIT_PARITY:g})")


def ours(spec: ModelSpec) -> bytes:
    """The model straight from the plan."""
    return onnx_bytes(plan(spec))


def spent_ms(run: Callable[[], object]) -> float:
    """CPU time of one run in ms."""
    start = time.process_time_ns()
    run()
    return (time.process_time_ns() - start) / 1e6


def session_of(model: bytes) -> ort.InferenceSession:
    """The model loaded on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def exported(spec: ModelSpec, *, dynamo: bool) -> None:
    """The network written by `torch.onnx.export`; called once for each, since it takes seconds."""
    model = fold(build(spec, seed=0))
    image = torch.zeros(1, 3, *spec.size)
    with TemporaryDirectory() as folder:
        torch.onnx.export(model, (image,), Path(folder) / "model.onnx", dynamo=dynamo, verbose=False)


def parity(spec: ModelSpec) -> float:
    """The largest difference between graph and module over the largest output."""
    model = build(spec, seed=0).eval()
    image = torch.randn(1, 3, *spec.size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = model(image).numpy()
    found = session_of(onnx_bytes(plan(spec), layer_arrays(model))).run(None, {INPUT: image.numpy()})[0]
    return float(np.abs(found - expected).max() / np.abs(expected).max())


if __name__ == "__main__":
    main()
