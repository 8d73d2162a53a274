"""OpenVINO on a CPU; the artifact is ``model.onnx``, or ``model.xml`` with ``model.bin``."""

from __future__ import annotations

import contextlib
import functools
import os
import statistics
import sys
from typing import TYPE_CHECKING, Dict, Iterator, List

import numpy as np

from mnv2search.latency.runner.engine import EngineError, Loaded, Settings, image


@contextlib.contextmanager
def unreported() -> Iterator[None]:
    """Prevent imports in this context from sending telemetry.

    `import openvino` 2026.4 sends telemetry from a separate thread, unless the package openvino_telemetry is missing.
    """
    was_there = "openvino_telemetry" in sys.modules
    if not was_there:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if not was_there:
            del sys.modules["openvino_telemetry"]


with unreported():
    import openvino as ov

if TYPE_CHECKING:
    from numpy.typing import NDArray


# Profiled inferences that are discarded, because the caches are still empty.
WARM_RUNS = 3
MS_PER_S = 1000
# precision -> (hint to the plugin, required capability of the processor)
PRECISIONS = {
    "fp32": ("f32", "FP32"),
    "fp16": ("f16", "FP16"),
    "bf16": ("bf16", "BF16"),
    "int8": ("f32", "INT8"),
}


@functools.lru_cache(maxsize=1)
def core() -> ov.Core:
    """The only core of this process, which lasts as long as the process.

    OpenVINO 2026.4 installs an alternate signal stack in the thread that creates a core, and restores the previous
    stack when the core is destroyed. If two cores are destroyed in the order of their creation, the second restores a
    stack that was freed, and the next Ctrl-C is a segmentation fault.
    """
    return ov.Core()


def version() -> str:
    """The version of OpenVINO."""
    return str(ov.__version__).split("-")[0]


def refusal(precision: str) -> str:
    """The reason why this processor does not support a precision, if it does not."""
    _, capability = PRECISIONS[precision]
    capabilities = core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if capability in capabilities:
        return ""
    return f"this processor does not compute in {precision}: it is capable of {', '.join(capabilities)}"


def load(folder: str, settings: Settings) -> Loaded:
    """The network compiled for the CPU plugin with the image bound to its input.

    With one thread, OpenVINO computes in the calling thread.
    """
    request = _request(folder, settings)

    def output() -> NDArray[np.float32]:
        request.infer()
        return np.array(request.get_output_tensor().data, np.float32)

    return Loaded(run=request.infer, output=output)


def step_times(folder: str, settings: Settings, runs: int) -> Dict[str, float]:
    """Median time in ms of every executed node, by OpenVINO's performance counters."""
    request = _request(folder, settings, counts=True)
    times: Dict[str, List[float]] = {}
    for number in range(WARM_RUNS + runs):
        request.infer()
        for node in request.get_profiling_info() if number >= WARM_RUNS else ():
            if node.status == ov.ProfilingInfo.Status.EXECUTED:
                times.setdefault(node.node_name, []).append(node.real_time.total_seconds() * MS_PER_S)
    return {name: statistics.median(values) for name, values in times.items()}


def _request(folder: str, settings: Settings, *, counts: bool = False) -> ov.InferRequest:
    """The network compiled, with the image bound to its input; `counts` turns performance counters on."""
    hint, _ = PRECISIONS[settings["precision"]]
    options = {
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": settings["threads"],
        # By default, the plugin computes in bf16 if the processor supports it.
        "INFERENCE_PRECISION_HINT": hint,
        # The measuring loop sets the number of threads and pins them.
        "ENABLE_CPU_PINNING": False,
        "ENABLE_HYPER_THREADING": True,
        "PERF_COUNT": counts,
    }
    try:
        compiled = core().compile_model(core().read_model(_model(folder)), "CPU", options)
    except RuntimeError as error:
        raise EngineError(str(error)) from error
    request = compiled.create_infer_request()
    request.set_input_tensor(ov.Tensor(image(settings["batch"], settings["size"])))
    return request


def _model(folder: str) -> str:
    xml = os.path.join(folder, "model.xml")
    return xml if os.path.exists(xml) else os.path.join(folder, "model.onnx")
