"""ncnn on a CPU."""

from __future__ import annotations

import subprocess
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from mnv2search.errors import DeviceError, OptionError
from mnv2search.latency.runtime import Runtime, not_installed
from mnv2search.lowering.ncnn.model import ncnn_files
from mnv2search.lowering.types import Artifact, NetworkArrays
from mnv2search.spec.plan import Plan

if TYPE_CHECKING:
    from torch import nn


PACKED = 8
PNNX_S = 300


class Ncnn(Runtime):
    """ncnn with its own choice of algorithms and layouts, one image at a time.

    The precision is `fp32`; `fp16`, on Arm v8.2 processors; or `int8` with fp32 between the convolutions, calibrated
    on random images.
    """

    name = "ncnn"
    engine = "mnv2search.latency.runner.engines.ncnn"
    files = ("model.param", "model.bin")
    precisions = ("fp32", "fp16", "int8")
    extra = "ncnn"
    converters = ("pnnx {pnnx}", "")

    def __init__(self, *, threads: int = 1, batch: int = 1, precision: str = "fp32") -> None:
        super().__init__(threads=threads, batch=batch, precision=precision)
        if batch != 1:
            raise OptionError(
                f"device ncnn: batch is {batch}, but ncnn runs one image at a time", hint="leave batch out"
            )

    def lower(self, network: Plan, weights: NetworkArrays | None = None) -> Artifact:
        """The network as the files that pnnx writes: the text of the layers, and the weights."""
        if self.precision == "int8":
            _check_integers(network)
        return self._artifact(*ncnn_files(network, weights, ranges=self._ranges(network, weights)))

    def convert(self, network: Plan, module: nn.Module) -> Artifact:
        """The network converted from a trace by pnnx, but not in int8; the files of fp16 and fp32 are the same."""
        if self.precision == "int8":
            raise DeviceError(
                "ncnn's tools for int8, ncnn2table and ncnn2int8, are not in any Python package",
                hint="compare at precision=fp32",
            )
        try:
            import torch
            from pnnx import EXEC_PATH
        except ImportError as error:
            raise not_installed("pnnx", "ncnn-convert", error) from error
        height, width = network.spec.size
        with tempfile.TemporaryDirectory(prefix="mnv2search-") as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings that tracing is not general, and is deprecated
            image = torch.zeros(1, 3, height, width)
            traced = torch.jit.trace(module, image, check_trace=False)  # type: ignore[no-untyped-call]
            traced.save(str(Path(folder, "network.pt")))
            _pnnx([EXEC_PATH, "network.pt", f"inputshape=[1,3,{height},{width}]f32", "fp16=0"], folder)
            return self._artifact(*(Path(folder, f"network.ncnn.{end}").read_bytes() for end in ("param", "bin")))


def _pnnx(command: list[str], folder: str) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PNNX_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeviceError(f"pnnx does not run: {error}") from error
    if done.returncode != 0 or not Path(folder, "network.ncnn.bin").exists():
        raise DeviceError(f"pnnx refuses the network (code {done.returncode}): {done.stderr.strip()[-300:]}")


def _check_integers(network: Plan) -> None:
    """Refuse int8 groups with a multiple of eight outputs, for which ncnn 1.0.20261020 computes wrong results."""
    for at, unit in zip(network.at, network.units, strict=True):
        for layer in unit.layers:
            if layer.role == "depthwise" and (layer.c_out // layer.groups) % PACKED == 0:
                raise DeviceError(
                    f"ncnn cannot compute {at} in int8: its depthwise convolution has {layer.c_out // layer.groups} "
                    "outputs per channel, and ncnn computes wrong results from 8 on",
                    hint="use another depthwise_multiplier, or precision=fp32",
                )
