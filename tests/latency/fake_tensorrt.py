"""The part of TensorRT's Python API that we use, as its documentation has it, computing by ONNX Runtime.

Source: NVIDIA TensorRT documentation, Python API reference 10.0 and 11.0: Builder, BuilderConfig, OnnxParser, Engine,
ExecutionContext.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime as ort

DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class BuilderFlag(IntEnum):
    TF32 = 6


class NetworkDefinitionCreationFlag(IntEnum):
    STRONGLY_TYPED = 1


class Logger:
    ERROR = 1

    def __init__(self, severity: int) -> None:
        self.severity = severity


@dataclass
class Network:
    flags: int
    graph: bytes = b""


@dataclass
class Config:
    flags: set[BuilderFlag] = field(default_factory=lambda: {BuilderFlag.TF32})

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.flags.discard(flag)


class Builder:
    fails = False
    configs: list[Config] = []  # noqa: RUF012
    networks: list[Network] = []  # noqa: RUF012

    def __init__(self, logger: Logger) -> None:
        assert isinstance(logger, Logger)

    def create_network(self, flags: int) -> Network:
        self.networks.append(Network(flags))
        return self.networks[-1]

    def create_builder_config(self) -> Config:
        self.configs.append(Config())
        return self.configs[-1]

    def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
        assert isinstance(config, Config)
        return None if self.fails else network.graph


class OnnxParser:
    fails = False
    num_errors = 1

    def __init__(self, network: Network, logger: Logger) -> None:
        assert isinstance(logger, Logger)
        self.network = network

    def parse(self, graph: bytes) -> bool:
        self.network.graph = graph
        return not self.fails

    def get_error(self, place: int) -> str:
        return f"error {place}: no importer for this operator"


class Context:
    def __init__(self, session: ort.InferenceSession) -> None:
        self.session = session
        self.addresses: dict[str, int] = {}
        self.streams: list[int] = []

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        self.streams.append(stream_handle)
        (given,), (answer,) = self.session.get_inputs(), self.session.get_outputs()
        memory = ctypes.string_at(self.addresses[given.name], self._bytes(given))
        image = np.frombuffer(memory, DTYPES[given.type]).reshape(given.shape)
        found = self.session.run([answer.name], {given.name: image})[0]
        ctypes.memmove(self.addresses[answer.name], found.tobytes(), self._bytes(answer))
        return True

    def _bytes(self, value: Any) -> int:
        return int(np.prod(value.shape)) * np.dtype(DTYPES[value.type]).itemsize


class CudaEngine:
    contexts: list[Context] = []  # noqa: RUF012

    def __init__(self, plan: bytes) -> None:
        self.session = ort.InferenceSession(plan, providers=["CPUExecutionProvider"])

    def create_execution_context(self) -> Context:
        self.contexts.append(Context(self.session))
        return self.contexts[-1]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(next(one.shape for one in self.session.get_outputs() if one.name == name))


class Runtime:
    def __init__(self, logger: Logger) -> None:
        assert isinstance(logger, Logger)

    def deserialize_cuda_engine(self, plan: bytes) -> CudaEngine:
        return CudaEngine(plan)


def installed() -> Iterator[ModuleType]:
    """Put the module in the place of TensorRT, and take it away again."""
    module = ModuleType("tensorrt")
    module.__version__ = "10.9"  # type: ignore[attr-defined]
    for kept in (Builder.configs, Builder.networks, CudaEngine.contexts):
        kept.clear()
    for one in (BuilderFlag, NetworkDefinitionCreationFlag, Logger, Builder, OnnxParser, CudaEngine, Runtime):
        setattr(module, one.__name__, one)
    before = sys.modules.pop("tensorrt", None)
    sys.modules["tensorrt"] = module
    try:
        yield module
    finally:
        del sys.modules["tensorrt"]
        if before is not None:
            sys.modules["tensorrt"] = before
