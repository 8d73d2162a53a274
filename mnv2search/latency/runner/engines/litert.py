"""LiteRT, once called TensorFlow Lite, on a CPU; the artifact is ``model.tflite``, channels last."""

from __future__ import annotations

import os
from importlib import metadata
from typing import TYPE_CHECKING, Tuple, TypedDict

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from mnv2search.latency.runner.engine import EngineError, Loaded, Settings, image, quiet
from mnv2search.latency.runner.identity import half_refusal

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Tensor(TypedDict):
    """The fields used here of the description of an input or output."""

    index: int
    dtype: type
    quantization: Tuple[float, int]


def version() -> str:
    """The version of LiteRT."""
    return metadata.version("ai-edge-litert")


def refusal(precision: str) -> str:
    """The reason why this processor does not support a precision, if it does not."""
    return half_refusal("LiteRT") if precision == "fp16" else ""


def load(folder: str, settings: Settings) -> Loaded:
    """The network with XNNPACK's kernels and the image in its input.

    With one thread, XNNPACK computes in the calling thread.
    """
    try:
        interpreter = Interpreter(os.path.join(folder, "model.tflite"), num_threads=settings["threads"])
        with quiet():  # it prints that it uses XNNPACK
            interpreter.allocate_tensors()
        (entry,), (end,) = interpreter.get_input_details(), interpreter.get_output_details()
        channels_last = image(settings["batch"], settings["size"]).transpose(0, 2, 3, 1)
        interpreter.set_tensor(entry["index"], _quantized(np.ascontiguousarray(channels_last), entry))
        interpreter.invoke()
    except (RuntimeError, ValueError) as error:
        raise EngineError(str(error)) from error

    def output() -> NDArray[np.float32]:
        interpreter.invoke()
        values = _dequantized(interpreter.get_tensor(end["index"]), end)
        return values.transpose(0, 3, 1, 2) if values.ndim == 4 else values

    return Loaded(run=interpreter.invoke, output=output)


def _quantized(values: NDArray[np.float32], tensor: Tensor) -> NDArray[np.float32] | NDArray[np.int8]:
    if tensor["dtype"] != np.int8:
        return values
    scale, zero = tensor["quantization"]
    integers: NDArray[np.int8] = np.clip(np.rint(values / scale) + zero, -128, 127).astype(np.int8)
    return integers


def _dequantized(values: NDArray[np.float32], tensor: Tensor) -> NDArray[np.float32]:
    if tensor["dtype"] != np.int8:
        return values
    scale, zero = tensor["quantization"]
    return np.float32(scale) * (values.astype(np.float32) - np.float32(zero))
