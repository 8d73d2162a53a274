"""PyTorch on an NVIDIA processor of this machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mnv2search.errors import DeviceError, OptionError
from mnv2search.latency.gpu import Gpu, GpuDevice, Queued
from mnv2search.latency.runner.engine import image
from mnv2search.latency.torch_gpu import TorchGpu
from mnv2search.latency.types import DeviceInfo
from mnv2search.model.build import build
from mnv2search.model.fold import fold
from mnv2search.spec.model_spec import ModelSpec

__all__ = ["NvidiaGpu", "TorchCuda"]

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
# Compute capability from which a processor computes in it.
# Source: CUDA C++ Programming Guide, "Compute Capabilities".
SINCE = {"fp32": (0, 0), "fp16": (5, 3), "bf16": (8, 0), "tf32": (8, 0)}


class NvidiaGpu(Gpu, Protocol):
    """A `Gpu` that says what it is, and where PyTorch's tensors have to lie for it."""

    device: torch.device
    name: str
    capability: tuple[int, int]

    @property
    def version(self) -> str:
        """Of the runtime, CUDA and the driver."""
        ...

    def stream(self) -> int:
        """The address of the stream that work is queued on now."""
        ...


class TorchCuda(GpuDevice):
    """The module with batch norm folded, channels last, recorded once as a CUDA graph and launched as a whole.

    Args:
        gpu: the processor; None takes the first that PyTorch sees.
        batch: images per inference; the latency is that of all of them.
        precision: `fp32`, `fp16` or `bf16`, of weights and activations.
        tf32: round what is multiplied in fp32 to ten bits, as tensor cores want it.

    Raises:
        DeviceError: there is no such processor, or it does not compute in that precision.
        OptionError: `batch` below 1, an unknown precision, or `tf32` with another precision than `fp32`.
    """

    def __init__(
        self, gpu: NvidiaGpu | None = None, /, *, batch: int = 1, precision: str = "fp32", tf32: bool = False
    ) -> None:
        options = gpu_options("torch-cuda", batch=batch, precision=precision, tf32=tf32, known=DTYPES)
        gpu = gpu or TorchGpu()
        check_capability("torch-cuda", gpu, "tf32" if tf32 else precision)
        super().__init__(
            DeviceInfo(
                name=f"torch-cuda{':' * bool(options)}{','.join(options)}",
                hardware=gpu.name,
                runtime="torch-cuda",
                runtime_version=gpu.version,
                dtype=precision,
                batch=batch,
                delegate="cuda graph, tf32" if tf32 else "cuda graph",
            ),
            gpu,
        )
        self._nvidia = gpu
        self._tf32 = tf32

    def load(self, spec: ModelSpec) -> Queued:
        """The network as a graph.

        Raises:
            DeviceError: PyTorch or the processor's memory refuses it.
        """
        place, dtype = self._nvidia.device, DTYPES[self.info.dtype]
        fixed = torch.from_numpy(image(self.info.batch, spec.size))
        found: list[Tensor] = []
        try:
            model = fold(build(spec, seed=0)).to(device=place, dtype=dtype)
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            fixed = fixed.to(device=place, dtype=dtype, memory_format=torch.channels_last)

            def run() -> None:
                with torch.inference_mode():
                    found[:] = [model(fixed)]

            with _deployed(tf32=self._tf32):
                launch = self._nvidia.captured(run)
        except RuntimeError as error:
            raise DeviceError(f"torch-cuda cannot run the network {spec.name}: {error}") from error

        def output() -> NDArray[np.float32]:
            return np.asarray(found[0].float().cpu().numpy(), np.float32)

        return Queued(run=launch, output=output, keeps=(model, fixed))


def gpu_options(name: str, *, batch: int, precision: str, tf32: bool, known: Iterable[str]) -> list[str]:
    """The options that open a device again, as ``key=value``.

    Raises:
        OptionError: `batch` below 1, an unknown precision, or `tf32` with another precision than `fp32`.
    """
    precisions = tuple(known)
    if batch < 1:
        raise OptionError(f"device {name}: batch is {batch}", hint="use 1 or more")
    if precision not in precisions:
        raise OptionError(f"device {name}: precision is {precision!r}", hint=f"it has {', '.join(precisions)}")
    if tf32 and precision != "fp32":
        raise OptionError(f"device {name}: tf32 is yes with precision={precision}", hint="leave one of them out")
    options = [f"batch={batch}"] if batch > 1 else []
    options += [f"precision={precision}"] if precision != "fp32" else []
    return options + (["tf32=yes"] if tf32 else [])


def check_capability(name: str, gpu: NvidiaGpu, precision: str) -> None:
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


@contextmanager
def _deployed(*, tf32: bool) -> Iterator[None]:
    """PyTorch's settings as a deployed network wants them: the fastest algorithms, TF32 where asked for."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=tf32):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
