"""TensorRT 10 or 11 on an NVIDIA GPU of this machine, with PyTorch's memory and streams."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import ClassVar, TypeVar

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from torch import Tensor

from mnv2search.errors import DeviceError
from mnv2search.latency.runner.engine import EngineError, image
from mnv2search.latency.runtimes.nvidia import NvidiaDevice, Queued
from mnv2search.lowering.onnx.model import INPUT, OUTPUT, onnx_bytes
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import plan

T = TypeVar("T")


class TensorRt(NvidiaDevice):
    """A GPU with TensorRT engines, built from our ONNX graph and captured as a CUDA graph.

    Building an engine takes seconds to minutes, so this device is meant for a Pareto front, not for a search. See
    `NvidiaDevice` for the options; image and output have the same precision.
    """

    name = "tensorrt"
    dtypes: ClassVar = {"fp32": torch.float32, "fp16": torch.float16}
    precisions: ClassVar = tuple(dtypes)

    def _check_installed(self) -> None:
        _tensorrt()

    def _version(self) -> str:
        return f"{_tensorrt().__version__}, torch {self._gpu.version}"

    def load(self, spec: ModelSpec) -> Queued:
        """The network, built and captured."""
        batch, gpu = self.info.batch, self._gpu
        graph = onnx_bytes(plan(spec), batch=batch)
        if self.info.dtype == "fp16":
            graph = half_precision(graph)
        fixed = torch.from_numpy(image(batch, spec.size))
        try:
            bound = fixed.to(device=gpu.device, dtype=self.dtypes[self.info.dtype])
            engine = _Engine(graph, bound, tf32=self._tf32)
            launch = gpu.captured(lambda: engine.run(gpu.stream()))
        except (EngineError, RuntimeError) as error:
            raise DeviceError(f"tensorrt cannot run the network {spec.name}: {error}") from error

        def output() -> NDArray[np.float32]:
            return np.asarray(engine.output.float().cpu().numpy(), np.float32)

        return Queued(run=launch, output=output, memory=engine)


def _tensorrt() -> ModuleType:
    try:
        return importlib.import_module("tensorrt")
    except (ImportError, OSError) as error:
        raise DeviceError(
            f"tensorrt cannot be imported ({error})",
            hint="on a machine with an NVIDIA GPU, pip install tensorrt and a torch for its version of CUDA",
        ) from error


class _Engine:
    """An engine for this GPU, built from a serialised ONNX model with its types, with an image bound to the input.

    With `tf32`, TensorRT rounds factors in fp32 to ten bits, which is its default. Source: NVIDIA TensorRT
    documentation, "Migrating Python Code from TensorRT 8.x to 10.x" and "... from 10.x to 11.x".
    """

    def __init__(self, graph: bytes, image: Tensor, *, tf32: bool) -> None:
        trt = _tensorrt()
        self._logger = trt.Logger(trt.Logger.ERROR)
        self._runtime = trt.Runtime(self._logger)
        self._engine = _made(self._runtime.deserialize_cuda_engine(self._built(graph, tf32=tf32)), "load the engine")
        self._context = _made(self._engine.create_execution_context(), "create a context")
        self.image = image
        shape = tuple(self._engine.get_tensor_shape(OUTPUT))
        self.output = torch.empty(shape, dtype=image.dtype, device=image.device)
        for name, tensor in ((INPUT, self.image), (OUTPUT, self.output)):
            _made(self._context.set_tensor_address(name, tensor.data_ptr()), f"bind {name}")

    def run(self, stream: int) -> None:
        _made(self._context.execute_async_v3(stream), "run the network")

    def _built(self, graph: bytes, *, tf32: bool) -> object:
        trt = _tensorrt()
        builder = trt.Builder(self._logger)
        # In TensorRT 11 every network is strongly typed, and the flag is ignored.
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, self._logger)
        if not parser.parse(graph):
            errors = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
            raise EngineError(f"TensorRT cannot read the graph: {errors}")
        config = builder.create_builder_config()
        if not tf32:
            config.clear_flag(trt.BuilderFlag.TF32)
        engine: object = _made(builder.build_serialized_network(network, config), "build the engine")
        return engine


def _made(result: T | None, action: str) -> T:
    """The result of a TensorRT call; None or False means failure, whose reason its logger has written."""
    if result is None or result is False:
        raise EngineError(f"TensorRT cannot {action}; it wrote the reason to stderr")
    return result


def half_precision(graph: bytes) -> bytes:
    """The model with every array, its input and its output in fp16 instead of fp32.

    All real numbers of `graph`, a serialised ONNX model, are in fp32.
    """
    model = onnx.load_from_string(graph)
    for array in model.graph.initializer:
        if array.data_type == TensorProto.FLOAT:
            halved = numpy_helper.to_array(array).astype(np.float16)
            array.CopyFrom(numpy_helper.from_array(halved, array.name))
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    return bytes(model.SerializeToString())
