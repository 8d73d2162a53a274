"""OpenVINO on a CPU; the artifact is ``model.onnx``, or ``model.xml`` with ``model.bin``."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from typing import TYPE_CHECKING, Iterator

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
    hint, _ = PRECISIONS[settings["precision"]]
    options = {
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": settings["threads"],
        # By default, the plugin computes in bf16 if the processor supports it.
        "INFERENCE_PRECISION_HINT": hint,
        # The measuring loop sets the number of threads and pins them.
        "ENABLE_CPU_PINNING": False,
        "ENABLE_HYPER_THREADING": True,
    }
    try:
        compiled = core().compile_model(core().read_model(_model(folder)), "CPU", options)
    except RuntimeError as error:
        raise EngineError(str(error)) from error
    request = compiled.create_infer_request()
    request.set_input_tensor(ov.Tensor(image(settings["batch"], settings["size"])))

    def output() -> NDArray[np.float32]:
        request.infer()
        return np.array(request.get_output_tensor().data, np.float32)

    return Loaded(run=request.infer, output=output)


def _model(folder: str) -> str:
    xml = os.path.join(folder, "model.xml")
    return xml if os.path.exists(xml) else os.path.join(folder, "model.onnx")
