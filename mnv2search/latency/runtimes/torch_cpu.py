"""Eager PyTorch on the CPU of this machine."""

from __future__ import annotations

import torch

from mnv2search.errors import DeviceError, OptionError
from mnv2search.latency.device import Device
from mnv2search.latency.host import processor, processors
from mnv2search.latency.types import DeviceInfo, Runner
from mnv2search.model.build import build
from mnv2search.model.fold import fold as folded
from mnv2search.spec.model_spec import ModelSpec

__all__ = ["TorchDevice"]


class TorchDevice(Device):
    """The module itself in evaluation mode, fp32, without a compiler.

    PyTorch's thread count belongs to the process: it is set when a network runs, and only if it differs.

    Args:
        threads: within one operator.
        batch: images per inference.
        channels_last: memory layout of weights and input.
        fold: fold batch norm into the convolutions.

    Raises:
        OptionError: `threads` or `batch` below 1, or more threads than processors.
    """

    def __init__(self, *, threads: int = 1, batch: int = 1, channels_last: bool = True, fold: bool = True) -> None:
        if threads > processors():
            raise OptionError(
                f"device torch: threads is {threads}, but this machine has {processors()} processors",
                hint=f"use {processors()} or fewer",
            )
        if threads < 1 or batch < 1:
            raise OptionError(f"device torch: threads is {threads}, batch is {batch}", hint="use 1 or more of each")
        options = [f"threads={threads}"]
        options += [f"batch={batch}"] if batch > 1 else []
        options += [] if channels_last else ["channels_last=no"]
        options += [] if fold else ["fold=no"]
        super().__init__(
            DeviceInfo(
                name=f"torch:{','.join(options)}",
                hardware=processor(),
                runtime="torch",
                runtime_version=torch.__version__,
                threads=threads,
                batch=batch,
                delegate="eager",
            )
        )
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        self._fold = fold

    def prepare(self, spec: ModelSpec) -> Runner:
        """The network built with random weights and a fixed input.

        Raises:
            DeviceError: PyTorch cannot run the network.
        """
        built = build(spec, seed=0)
        model = (folded(built) if self._fold else built).eval()
        for parameter in model.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=self._layout)
        side, threads = spec.resolution, self.info.threads
        generator = torch.Generator().manual_seed(0)
        image = torch.randn(self.info.batch, 3, side, side, generator=generator).to(memory_format=self._layout)

        def run() -> None:
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
            with torch.inference_mode():
                model(image)

        try:
            run()
        except RuntimeError as error:
            raise DeviceError(f"torch cannot run the network {spec.name}: {error}") from error
        return run
