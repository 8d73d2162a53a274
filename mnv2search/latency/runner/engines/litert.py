"""LiteRT, once called TensorFlow Lite, on a CPU; the artifact is ``model.tflite``, channels last."""

from __future__ import annotations

import os
from importlib import metadata
from typing import Any, Dict

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from mnv2search.latency.runner.engine import EngineError, Loaded, image
from mnv2search.latency.runner.identity import half_refusal
from mnv2search.latency.runner.quiet import quiet

__all__ = ["load", "refusal", "version"]


def version() -> str:
    """The version of LiteRT."""
    return metadata.version("ai-edge-litert")


def refusal(precision: str) -> str:
    """Why this processor does not compute in a precision; empty where it does."""
    return half_refusal("LiteRT") if precision == "fp16" else ""


def load(folder: str, settings: Dict[str, Any]) -> Loaded:
    """The network with XNNPACK's kernels and the image in its input.

    With one thread XNNPACK computes in the thread that asks.

    Raises:
        EngineError: LiteRT refuses the network.
    """
    try:
        interpreter = Interpreter(os.path.join(folder, "model.tflite"), num_threads=settings["threads"])
        with quiet():  # it says that it uses XNNPACK
            interpreter.allocate_tensors()
        (entry,), (end,) = interpreter.get_input_details(), interpreter.get_output_details()
        interpreter.set_tensor(entry["index"], _stored(image(settings["batch"], settings["size"]), entry))
        interpreter.invoke()
    except (RuntimeError, ValueError) as error:
        raise EngineError(str(error)) from error

    def answer() -> Any:
        interpreter.invoke()
        found = _real(interpreter.get_tensor(end["index"]), end)
        return found.transpose(0, 3, 1, 2) if found.ndim == 4 else found

    return Loaded(run=interpreter.invoke, output=answer)


def _stored(images: Any, entry: Dict[str, Any]) -> Any:
    """Images as the network wants them: channels last, and in its integers if it takes integers."""
    found = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    if entry["dtype"] != np.int8:
        return found
    scale, zero = entry["quantization"]
    return np.clip(np.rint(found / scale) + zero, -128, 127).astype(np.int8)


def _real(values: Any, end: Dict[str, Any]) -> Any:
    """Real numbers for what the network answers."""
    if end["dtype"] != np.int8:
        return values
    scale, zero = end["quantization"]
    return np.float32(scale) * (values.astype(np.float32) - np.float32(zero))
