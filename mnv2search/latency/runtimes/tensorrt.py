"""TensorRT on an NVIDIA processor of this machine."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from mnv2search.errors import DeviceError
from mnv2search.latency.gpu import Queued
from mnv2search.latency.runner.engine import EngineError, image
from mnv2search.latency.runtimes.nvidia import NvidiaDevice, NvidiaGpu
from mnv2search.lowering.onnx.half import half_precision
from mnv2search.lowering.onnx.model import onnx_bytes
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import plan

if TYPE_CHECKING:
    from types import ModuleType


ENGINE = "mnv2search.latency.runtimes.tensorrt_engine"


class TensorRt(NvidiaDevice):
    """An engine built from our ONNX graph, recorded once as a CUDA graph and launched as a whole.

    Building an engine takes seconds to minutes, so this is for the front and not for a search.

    See `NvidiaDevice` for its options; the precision is also that of the image and the output.

    Raises:
        DeviceError: TensorRT is not installed, or see `NvidiaDevice`.
    """

    name = "tensorrt"
    dtypes: ClassVar = {"fp32": torch.float32, "fp16": torch.float16}

    def __init__(
        self, gpu: NvidiaGpu | None = None, /, *, batch: int = 1, precision: str = "fp32", tf32: bool = False
    ) -> None:
        self._options(
            batch=batch, precision=precision, tf32=tf32
        )  # a wrong option is reported before a missing package
        self._module = _module()
        super().__init__(gpu, batch=batch, precision=precision, tf32=tf32)

    def _version(self, gpu: NvidiaGpu) -> str:
        return f"{self._module.version()}, torch {gpu.version}"

    def load(self, spec: ModelSpec) -> Queued:
        """The network built and recorded.

        Raises:
            DeviceError: TensorRT or the processor's memory refuses it.
        """
        batch, nvidia = self.info.batch, self._nvidia
        graph = onnx_bytes(plan(spec), batch=batch)
        if self.info.dtype == "fp16":
            graph = half_precision(graph)
        fixed = torch.from_numpy(image(batch, spec.size))
        try:
            bound = fixed.to(device=nvidia.device, dtype=self.dtypes[self.info.dtype])
            engine = self._module.Engine(graph, bound, tf32=self._tf32)
            launch = nvidia.captured(lambda: engine.run(nvidia.stream()))
        except (EngineError, RuntimeError) as error:
            raise DeviceError(f"tensorrt cannot run the network {spec.name}: {error}") from error

        def output() -> NDArray[np.float32]:
            return np.asarray(engine.output.float().cpu().numpy(), np.float32)

        return Queued(run=launch, output=output, memory=engine)


def _module() -> ModuleType:
    """The module that builds and runs engines.

    Raises:
        DeviceError: TensorRT is not installed.
    """
    try:
        return importlib.import_module(ENGINE)
    except (ImportError, OSError) as error:
        raise DeviceError(
            f"tensorrt cannot be imported ({error})",
            hint="on a machine with an NVIDIA GPU, pip install tensorrt and a torch for its version of CUDA",
        ) from error
