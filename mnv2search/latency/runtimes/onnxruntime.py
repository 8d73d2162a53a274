"""ONNX Runtime on the CPU of this machine."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort

from mnv2search.errors import DeviceError, OptionError
from mnv2search.latency.device import Device
from mnv2search.latency.host import processor, processors
from mnv2search.latency.types import DeviceInfo, Runner
from mnv2search.lowering.onnx import INPUT, OUTPUT, onnx_bytes
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import plan

__all__ = ["OnnxRuntimeDevice"]

PROVIDER = "CPUExecutionProvider"
ERRORS_ONLY = 3


class OnnxRuntimeDevice(Device):
    """ONNX Runtime's CPU execution provider with all graph optimisations, fp32.

    Args:
        threads: within one operator.
        batch: images per inference.

    Raises:
        OptionError: `threads` or `batch` below 1, or more threads than processors.
    """

    def __init__(self, *, threads: int = 1, batch: int = 1) -> None:
        if threads > processors():
            raise OptionError(
                f"device onnxruntime: threads is {threads}, but this machine has {processors()} processors",
                hint=f"use {processors()} or fewer",
            )
        if threads < 1 or batch < 1:
            raise OptionError(
                f"device onnxruntime: threads is {threads}, batch is {batch}", hint="use 1 or more of each"
            )
        super().__init__(
            DeviceInfo(
                name=f"onnxruntime:threads={threads}" + (f",batch={batch}" if batch > 1 else ""),
                hardware=processor(),
                runtime="onnxruntime",
                runtime_version=ort.__version__,
                threads=threads,
                batch=batch,
                delegate=PROVIDER,
            )
        )

    def prepare(self, spec: ModelSpec) -> Runner:
        """The network loaded into a session with a fixed input.

        Raises:
            DeviceError: ONNX Runtime refuses the graph.
        """
        session = self._session(onnx_bytes(plan(spec), batch=self.info.batch), spec.name)
        shape = (self.info.batch, 3, spec.resolution, spec.resolution)
        image = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
        binding = session.io_binding()
        binding.bind_cpu_input(INPUT, image)
        binding.bind_output(OUTPUT, "cpu")

        def run() -> None:
            session.run_with_iobinding(binding)

        return run

    def _session(self, model: bytes, name: str) -> Any:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.info.threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = ERRORS_ONLY
        # Idle workers must not eat the time slices of the other networks that are measured in turn.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            return ort.InferenceSession(model, options, providers=[PROVIDER])
        except (RuntimeError, ValueError) as error:
            raise DeviceError(f"onnxruntime refuses the network {name}: {error}") from error
