"""The base of runtimes on an NVIDIA processor of this machine: options, and requirements on the processor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Protocol

import torch

from mnv2search.errors import DeviceError, OptionError
from mnv2search.latency.device import check_options, options_text
from mnv2search.latency.gpu import Gpu, GpuDevice
from mnv2search.latency.torch_gpu import TorchGpu
from mnv2search.latency.types import DeviceInfo

# Compute capability from which a processor computes in it.
# Source: CUDA C++ Programming Guide, "Compute Capabilities".
SINCE = {"fp32": (0, 0), "fp16": (5, 3), "bf16": (8, 0), "tf32": (8, 0)}


class NvidiaGpu(Gpu, Protocol):
    """A `Gpu` with its description, and the device of PyTorch's tensors for it."""

    device: torch.device
    name: str
    capability: tuple[int, int]

    @property
    def version(self) -> str:
        """Versions of the runtime, CUDA and the driver."""
        ...

    def stream(self) -> int:
        """The address of the stream that work is queued on now."""
        ...


class NvidiaDevice(GpuDevice):
    """A runtime on an NVIDIA processor.

    Args:
        gpu: the processor; None takes the first that PyTorch sees.
        batch: images per inference; the latency is that of all of them.
        precision: of weights and activations, one of `dtypes`.
        tf32: round factors in fp32 to ten bits of mantissa, for tensor cores.

    Raises:
        DeviceError: there is no such processor, or it does not compute in that precision.
        OptionError: `batch` below 1, an unknown precision, or `tf32` with another precision than `fp32`.
    """

    name: ClassVar[str]
    dtypes: ClassVar[Mapping[str, torch.dtype]]

    def __init__(
        self, gpu: NvidiaGpu | None = None, /, *, batch: int = 1, precision: str = "fp32", tf32: bool = False
    ) -> None:
        options = self._options(batch=batch, precision=precision, tf32=tf32)
        gpu = gpu or TorchGpu()
        _check_capability(self.name, gpu, "tf32" if tf32 else precision)
        info = DeviceInfo(
            name=f"{self.name}{':' * bool(options)}{','.join(options)}",
            hardware=gpu.name,
            runtime=self.name,
            runtime_version=self._version(gpu),
            dtype=precision,
            batch=batch,
            delegate="cuda graph, tf32" if tf32 else "cuda graph",
        )
        super().__init__(info, gpu)
        self._nvidia = gpu
        self._tf32 = tf32

    def _version(self, gpu: NvidiaGpu) -> str:
        """Version of the runtime."""
        return gpu.version

    def _options(self, *, batch: int, precision: str, tf32: bool) -> list[str]:
        """The options that open the device again, as ``key=value``."""
        check_options(self.name, self.dtypes, precision=precision, batch=batch)
        if tf32 and precision != "fp32":
            raise OptionError(
                f"device {self.name}: tf32 is yes with precision={precision}", hint="leave one of them out"
            )
        return options_text(batch=batch, precision=precision) + (["tf32=yes"] if tf32 else [])


def _check_capability(name: str, gpu: NvidiaGpu, precision: str) -> None:
    """Refuse a precision that the processor would only emulate.

    Raises:
        DeviceError: it does.
    """
    if gpu.capability < SINCE[precision]:
        has, needs = (".".join(map(str, pair)) for pair in (gpu.capability, SINCE[precision]))
        raise DeviceError(
            f"device {name}: {gpu.name} (compute capability {has}) does not compute in {precision}",
            hint=f"it takes {needs} or more: use precision=fp32",
        )
