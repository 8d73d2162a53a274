"""TensorRT 10 and 11: engines built from ONNX graphs; memory and streams are PyTorch's.

Source: NVIDIA TensorRT documentation, "Migrating Python Code from TensorRT 8.x to 10.x" and "... from 10.x to 11.x".
"""

from __future__ import annotations

from typing import TypeVar

import tensorrt as trt
import torch
from torch import Tensor

from mnv2search.latency.runner.engine import EngineError
from mnv2search.lowering.onnx.model import INPUT, OUTPUT

T = TypeVar("T")


def version() -> str:
    """The version of TensorRT."""
    return str(trt.__version__)


class Engine:
    """A network built for this processor, with an image bound to its input.

    Args:
        graph: a serialised ONNX model; TensorRT computes in the types that it has.
        image: on the processor, in the type of the model's input.
        tf32: allow TensorRT to round what is multiplied in fp32 to ten bits, which by default it does.

    Raises:
        EngineError: TensorRT refuses the graph, or cannot build an engine.
    """

    def __init__(self, graph: bytes, image: Tensor, *, tf32: bool) -> None:
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
        """Queue one inference on a CUDA stream.

        Raises:
            EngineError: TensorRT does not take it.
        """
        _made(self._context.execute_async_v3(stream), "run the network")

    def _built(self, graph: bytes, *, tf32: bool) -> trt.IHostMemory:
        builder = trt.Builder(self._logger)
        # TensorRT 11 knows no other networks and ignores the flag.
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, self._logger)
        if not parser.parse(graph):
            errors = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
            raise EngineError(f"TensorRT cannot read the graph: {errors}")
        config = builder.create_builder_config()
        if not tf32:
            config.clear_flag(trt.BuilderFlag.TF32)
        engine: trt.IHostMemory = _made(builder.build_serialized_network(network, config), "build the engine")
        return engine


def _made(result: T | None, action: str) -> T:
    """The result of TensorRT; None or False means that it failed, and that its logger has written the reason."""
    if result is None or result is False:
        raise EngineError(f"TensorRT cannot {action}; it wrote the reason to stderr")
    return result
