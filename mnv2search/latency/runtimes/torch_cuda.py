"""PyTorch on an NVIDIA GPU of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mnv2search.errors import DeviceError
from mnv2search.latency.runner.engine import image
from mnv2search.latency.runtimes.nvidia import NvidiaDevice, Queued
from mnv2search.model.build import build
from mnv2search.model.fold import fold
from mnv2search.spec.model_spec import ModelSpec


class TorchCuda(NvidiaDevice):
    """A GPU that runs PyTorch modules with folded batch norm and channels last, captured as CUDA graphs.

    See `NvidiaDevice` for its options.
    """

    name = "torch-cuda"
    dtypes: ClassVar = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    precisions: ClassVar = tuple(dtypes)

    def load(self, spec: ModelSpec) -> Queued:
        """The network as a graph."""
        place, dtype = self._gpu.device, self.dtypes[self.info.dtype]
        fixed = torch.from_numpy(image(self.info.batch, spec.size))
        outputs: list[Tensor] = []
        try:
            model = fold(build(spec, seed=0)).to(device=place, dtype=dtype)
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            fixed = fixed.to(device=place, dtype=dtype, memory_format=torch.channels_last)

            def run() -> None:
                with torch.inference_mode():
                    outputs[:] = [model(fixed)]

            with _deployed(tf32=self._tf32):
                launch = self._gpu.captured(run)
        except RuntimeError as error:
            raise DeviceError(f"torch-cuda cannot run the network {spec.name}: {error}") from error

        def output() -> NDArray[np.float32]:
            return np.asarray(outputs[0].float().cpu().numpy(), np.float32)

        return Queued(run=launch, output=output, memory=(model, fixed))


@contextmanager
def _deployed(*, tf32: bool) -> Iterator[None]:
    """Set PyTorch up for deployment: the fastest algorithms, and TF32 if requested."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=tf32):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
