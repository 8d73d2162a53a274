"""ONNX Runtime's CPU execution provider; the artifact is ``model.onnx``."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from typing import TYPE_CHECKING, Dict, List

import onnxruntime as ort

from mnv2search.latency.runner.engine import EngineError, Loaded, Settings, image

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


ERRORS_ONLY = 3
# The profiler appends this to the name of a node, for the time of its computation.
KERNEL = "_kernel_time"
US_PER_MS = 1000
# Profiled inferences that are discarded, because the caches are still empty.
WARM_RUNS = 3


def version() -> str:
    """The version of ONNX Runtime."""
    return str(ort.__version__)


def load(folder: str, settings: Settings) -> Loaded:
    """A session with all graph optimisations and the image bound to its input."""
    session = _session(folder, _options(settings))
    binding = _bound(session, settings)

    def run() -> None:
        session.run_with_iobinding(binding)

    def output() -> NDArray[np.float32]:
        run()
        values: NDArray[np.float32] = binding.copy_outputs_to_cpu()[0]
        return values

    return Loaded(run=run, output=output)


def step_times(folder: str, settings: Settings, runs: int) -> Dict[str, float]:
    """Median time in ms of every node of the optimised graph, by ONNX Runtime's profiler."""
    options = _options(settings)
    options.enable_profiling = True
    with tempfile.TemporaryDirectory(prefix="mnv2search-") as own:
        options.profile_file_prefix = os.path.join(own, "profile")
        session = _session(folder, options)
        binding = _bound(session, settings)
        for _ in range(WARM_RUNS + runs):
            session.run_with_iobinding(binding)
        with open(session.end_profiling(), encoding="utf-8") as file:
            events = json.load(file)
    times: Dict[str, List[float]] = {}
    for event in events:
        if event["cat"] == "Node" and event["name"].endswith(KERNEL):
            times.setdefault(event["name"][: -len(KERNEL)], []).append(event["dur"] / US_PER_MS)
    return {name: statistics.median(values[-runs:]) for name, values in times.items()}


def _options(settings: Settings) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = settings["threads"]
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = ERRORS_ONLY
    # Idle workers must not use CPU time while other networks are measured.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


def _session(folder: str, options: ort.SessionOptions) -> ort.InferenceSession:
    path = os.path.join(folder, "model.onnx")
    try:
        return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except (RuntimeError, ValueError) as error:
        raise EngineError(str(error)) from error


def _bound(session: ort.InferenceSession, settings: Settings) -> ort.IOBinding:
    """The session's binding, with the image as its input."""
    binding = session.io_binding()
    binding.bind_cpu_input(session.get_inputs()[0].name, image(settings["batch"], settings["size"]))
    binding.bind_output(session.get_outputs()[0].name, "cpu")
    return binding
