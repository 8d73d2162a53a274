"""Inference time of our MobileNetV2 1.0 at 224 px against the same network of the package pytorchcv.

Run: `pip install pytorchcv && python benchmarks/inference.py [--visits 20] [--burst-ms 250]`

Both carry the same weights, and their answers are compared first. Ours is compiled to ONNX from the plan, theirs
through torch.onnx.export; both run in ONNX Runtime, and as torch modules in eager mode. Batch 1, fp32, one thread.
The four are visited in turn, in another order at every visit; a visit is a burst of runs, and its level the 10th
percentile of their process CPU times, which equal wall times on an idle machine. Quoted are the median over visits
and the median and quartiles of the ratio within a visit.
"""

from __future__ import annotations

import argparse
import importlib
import io
import platform
import random
import statistics
import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from mnv2search.model.build import MobileNet

Run = Callable[[], object]
SIDE_PX = 224
WARM_RUNS = 5
PAIRS = (
    ("ours, onnxruntime", "theirs, onnxruntime"),
    ("ours, torch", "theirs, torch"),
    ("ours, onnxruntime", "theirs, torch"),
)


def pair(seed: int) -> tuple[MobileNet, nn.Module]:
    """Our network and theirs with the same weights, norms included."""
    import torch

    from mnv2search.model.build import build
    from mnv2search.spec.yaml.codec import load_spec

    model = build(load_spec("mobilenet_v2"), seed=seed).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(1.0, 2.0, generator=generator)
                module.bias.uniform_(-0.5, 0.5, generator=generator)
        model.state_dict()["classifier.1.bias"].zero_()  # theirs has none
    theirs: nn.Module = importlib.import_module("pytorchcv.models.mobilenetv2").mobilenetv2b_w1().eval()
    names = list(theirs.state_dict())
    state = dict(zip(names, model.state_dict().values(), strict=False))
    state[names[-1]] = state[names[-1]][:, :, None, None]
    theirs.load_state_dict(state)
    return model, theirs


def session(graph: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def traced(model: nn.Module, images: Any) -> bytes:
    """An ONNX graph through tracing."""
    import torch

    file: Any = io.BytesIO()  # the tracing exporter takes it, though only paths are declared
    with warnings.catch_warnings():
        # The tracing exporter is announced as old from torch 2.9 on; the newer one takes ten times as long.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.")
        torch.onnx.export(model, (images,), file, dynamo=False, opset_version=17)
    return bytes(file.getvalue())


def runs(seed: int) -> dict[str, Run]:
    """What is compared, by name; raises if the answers differ."""
    import numpy as np
    import torch

    from mnv2search.export.arrays import layer_arrays
    from mnv2search.lowering.onnx.model import onnx_bytes

    ours, theirs = pair(seed)
    images = torch.randn(1, 3, SIDE_PX, SIDE_PX, generator=torch.Generator().manual_seed(seed))
    one = session(onnx_bytes(ours.plan, layer_arrays(ours)))
    two = session(traced(theirs, images))
    fed = {s: {s.get_inputs()[0].name: images.numpy()} for s in (one, two)}

    def eager(model: nn.Module) -> Run:
        def run() -> object:
            with torch.inference_mode():
                return model(images).numpy()

        return run

    found: dict[str, Run] = {
        "ours, onnxruntime": lambda: one.run(None, fed[one])[0],
        "theirs, onnxruntime": lambda: two.run(None, fed[two])[0],
        "ours, torch": eager(ours),
        "theirs, torch": eager(theirs),
    }
    answers = {name: np.asarray(run()) for name, run in found.items()}
    expected = answers["theirs, torch"]
    worst = max(float(abs(answer - expected).max() / abs(expected).max()) for answer in answers.values())
    print(f"largest difference between the four answers: {worst:.1e} of the largest logit")
    if not worst <= 1e-4:
        raise SystemExit("the networks compared are not the same")
    return found


def level_ms(run: Run, *, burst_ms: float) -> float:
    """The 10th percentile of the CPU times of a burst of runs, in ms."""
    for _ in range(WARM_RUNS):
        run()
    samples: list[float] = []
    while sum(samples) < burst_ms or len(samples) < WARM_RUNS:
        start = time.process_time_ns()
        run()
        samples.append((time.process_time_ns() - start) / 1e6)
    return statistics.quantiles(samples, n=10)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visits", type=int, default=20)
    parser.add_argument("--burst-ms", type=float, default=250)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    import onnxruntime
    import torch

    torch.set_num_threads(1)
    versions = f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}"
    print(f"{platform.machine()}, Python {platform.python_version()}, {versions}; one thread, batch 1, fp32")
    compared = runs(options.seed)
    levels: dict[str, list[float]] = {name: [] for name in compared}
    order, rng = list(compared), random.Random(options.seed)
    for _ in range(options.visits):
        rng.shuffle(order)
        for name in order:
            levels[name].append(level_ms(compared[name], burst_ms=options.burst_ms))
    for name, found in levels.items():
        low, middle, high = statistics.quantiles(found, n=4)
        print(f"  {name:<24}{middle:7.2f} ms   quartiles {low:.2f} to {high:.2f}")
    for ours, theirs in PAIRS:
        ratios = [a / b for a, b in zip(levels[ours], levels[theirs], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"  {ours} / {theirs}: {middle:.3f}, quartiles {low:.3f} to {high:.3f}, {len(ratios)} visits")


if __name__ == "__main__":
    main()
