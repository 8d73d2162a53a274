"""PyTorch on the CPU of this machine, eager or compiled."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from mnv2search.errors import DeviceError
from mnv2search.latency.device import Device, check_options, check_threads, options_text, processor, processors
from mnv2search.latency.types import DeviceInfo, Runner
from mnv2search.model.build import build
from mnv2search.model.fold import fold as folded
from mnv2search.spec.model_spec import ModelSpec

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
# Processor features needed to compute in a precision without conversions, by their names in PyTorch 2.13.
NATIVE = {
    "fp16": ("avx512_fp16", "amx_fp16", "fp16_arith"),
    "bf16": ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"),
}


class TorchDevice(Device):
    """A device that runs the PyTorch module in evaluation mode.

    PyTorch's thread count is global to the process; it is set when a network runs, if it differs. `precision` is
    `fp32`, or `fp16` or `bf16` if the processor supports it; `fold` folds batch norm into the convolutions; `compile`
    compiles each network by Inductor with frozen weights, which takes half a minute.

    Raises:
        OptionError: `threads` or `batch` below 1, more threads than processors, or an unknown precision.
        DeviceError: the processor does not support the precision, or there is no C++ compiler for `compile`.
    """

    precisions: ClassVar = tuple(DTYPES)

    def __init__(
        self,
        *,
        threads: int = 1,
        batch: int = 1,
        precision: str = "fp32",
        channels_last: bool = True,
        fold: bool = True,
        compile: bool = False,
    ) -> None:
        check_threads("torch", threads, processors())
        check_options("torch", DTYPES, precision=precision, threads=threads, batch=batch)
        _check_native(precision)
        if compile:
            _check_compiler()
        options = [f"threads={threads}", *options_text(batch=batch, precision=precision)]
        options += [] if channels_last else ["channels_last=no"]
        options += [] if fold else ["fold=no"]
        options += ["compile=yes"] if compile else []
        super().__init__(
            DeviceInfo(
                name=f"torch:{','.join(options)}",
                hardware=processor(),
                runtime="torch",
                runtime_version=torch.__version__,
                threads=threads,
                dtype=precision,
                batch=batch,
                delegate="inductor" if compile else "eager",
            )
        )
        self._layout = torch.channels_last if channels_last else torch.contiguous_format
        self._fold = fold
        self._compile = compile

    def prepare(self, spec: ModelSpec) -> Runner:
        """The network built with random weights and a fixed input."""
        built = build(spec, seed=0)
        model: nn.Module = (folded(built) if self._fold else built).eval().to(DTYPES[self.info.dtype])
        for parameter in model.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=self._layout)
        threads = self.info.threads
        image = self._image(spec)
        without_gradients = torch.no_grad if self._compile else torch.inference_mode

        def run() -> None:
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
            with without_gradients():
                model(image)

        try:
            if self._compile:
                torch.set_num_threads(threads)  # the compiled code depends on it
                model = _compiled(model, image)
            run()
        except RuntimeError as error:
            raise DeviceError(f"torch cannot run the network {spec.name}: {error}") from error
        return run

    def _image(self, spec: ModelSpec) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        try:
            drawn = torch.randn(self.info.batch, 3, *spec.size, generator=generator)
        except RuntimeError as error:
            raise DeviceError(
                f"torch: {self.info.batch:,} images for {spec.name} do not fit in memory", hint="use a smaller batch"
            ) from error
        return drawn.to(DTYPES[self.info.dtype]).to(memory_format=self._layout)


def _compiled(model: nn.Module, image: Tensor) -> nn.Module:
    """The network compiled by Inductor for images like `image`.

    It is exported first: compiled functions are cached by their code, and after eight networks with the code of
    `MobileNet.forward`, PyTorch would refuse the ninth.
    """
    with torch.no_grad(), warnings.catch_warnings():
        # torch uses torch.jit internally, which raises a DeprecationWarning in 2.13 and a FutureWarning in 2.14.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.")
        exported = torch.export.export(model, (image,)).module()
        compiled = torch.compile(exported, fullgraph=True, dynamic=False, options={"freezing": True})
        compiled(image)
    assert isinstance(compiled, nn.Module)
    return compiled


def _check_native(precision: str) -> None:
    """Refuse a precision that the processor only emulates, or whose support PyTorch does not report."""
    if precision not in NATIVE:
        return
    known: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    if not any(known.get(name) for name in NATIVE[precision]):
        why = "does not support it" if known else f"does not report to torch {torch.__version__} whether it can"
        raise DeviceError(
            f"device torch: precision is {precision}, but the processor ({processor()}) {why}",
            hint="use precision=fp32",
        )


def _check_compiler() -> None:
    """Raise an error if there is no compiler, before a network is built."""
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise DeviceError(
            "device torch: compile is yes, but torch finds no C++ compiler", hint="install g++, or leave compile out"
        ) from error
