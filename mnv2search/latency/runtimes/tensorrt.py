"""TensorRT on an NVIDIA processor of this machine."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from mnv2search.errors import DeviceError
from mnv2search.latency.runner.engine import EngineError, image
from mnv2search.latency.runtimes.nvidia import NvidiaDevice, NvidiaGpu, Queued
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
        self._options(batch=batch, precision=precision, tf32=tf32)  # reported before a missing package
        self._module = _module()
        super().__init__(gpu, batch=batch, precision=precision, tf32=tf32)

    def _version(self) -> str:
        return f"{self._module.version()}, torch {self._gpu.version}"

    def load(self, spec: ModelSpec) -> Queued:
        """The network built and recorded."""
        batch, gpu = self.info.batch, self._gpu
        graph = onnx_bytes(plan(spec), batch=batch)
        if self.info.dtype == "fp16":
            graph = half_precision(graph)
        fixed = torch.from_numpy(image(batch, spec.size))
        try:
            bound = fixed.to(device=gpu.device, dtype=self.dtypes[self.info.dtype])
            engine = self._module.Engine(graph, bound, tf32=self._tf32)
            launch = gpu.captured(lambda: engine.run(gpu.stream()))
        except (EngineError, RuntimeError) as error:
            raise DeviceError(f"tensorrt cannot run the network {spec.name}: {error}") from error

        def output() -> NDArray[np.float32]:
            return np.asarray(engine.output.float().cpu().numpy(), np.float32)

        return Queued(run=launch, output=output, memory=engine)


def _module() -> ModuleType:
    try:
        return importlib.import_module(ENGINE)
    except (ImportError, OSError) as error:
        raise DeviceError(
            f"tensorrt cannot be imported ({error})",
            hint="on a machine with an NVIDIA GPU, pip install tensorrt and a torch for its version of CUDA",
        ) from error


def half_precision(graph: bytes) -> bytes:
    """The model with every array, its input and its output in fp16 instead of fp32.

    The only real numbers of `graph`, a serialised ONNX model, are fp32.
    """
    model = onnx.load_from_string(graph)
    for array in model.graph.initializer:
        if array.data_type == TensorProto.FLOAT:
            halved = numpy_helper.to_array(array).astype(np.float16)
            array.CopyFrom(numpy_helper.from_array(halved, array.name))
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    return bytes(model.SerializeToString())
