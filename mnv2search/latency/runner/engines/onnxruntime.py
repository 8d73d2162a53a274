"""ONNX Runtime's CPU execution provider; the artifact is ``model.onnx``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import onnxruntime as ort

from mnv2search.latency.runner.engine import EngineError, Loaded, Settings, image

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


ERRORS_ONLY = 3


def version() -> str:
    """The version of ONNX Runtime."""
    return str(ort.__version__)


def load(folder: str, settings: Settings) -> Loaded:
    """A session with all graph optimisations and the image bound to its input."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = settings["threads"]
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = ERRORS_ONLY
    # Idle workers must not use CPU time while other networks are measured.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        session = ort.InferenceSession(
            os.path.join(folder, "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
    except (RuntimeError, ValueError) as error:
        raise EngineError(str(error)) from error
    binding = session.io_binding()
    binding.bind_cpu_input(session.get_inputs()[0].name, image(settings["batch"], settings["size"]))
    binding.bind_output(session.get_outputs()[0].name, "cpu")

    def run() -> None:
        session.run_with_iobinding(binding)

    def output() -> NDArray[np.float32]:
        run()
        values: NDArray[np.float32] = binding.copy_outputs_to_cpu()[0]
        return values

    return Loaded(run=run, output=output)
