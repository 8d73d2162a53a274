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
        """The text of the layers and the weights, as pnnx writes them."""
        if self.precision == "int8":
            _check_integers(network)
        return self._artifact(*ncnn_files(network, weights, ranges=self._ranges(network, weights)))

    def convert(self, network: Plan, module: nn.Module) -> Artifact:
        """The network as pnnx makes it of a trace, not in int8; in fp16 it is the same files, loaded otherwise."""
        if self.precision == "int8":
            raise DeviceError(
                "ncnn's tools for int8, ncnn2table and ncnn2int8, come in no Python package",
                hint="compare at precision=fp32",
            )
        try:
            import torch
            from pnnx import EXEC_PATH
        except ImportError as error:
            raise not_installed("pnnx", "ncnn-convert", error) from error
        height, width = network.spec.size
        with tempfile.TemporaryDirectory(prefix="mnv2search-") as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that tracing is not general, and will be gone some day
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
    """Refuse what ncnn 1.0.20261020 answers with garbage: groups with a multiple of eight outputs, in eight bits."""
    for at, unit in zip(network.at, network.units, strict=True):
        for layer in unit.layers:
            if layer.role == "depthwise" and (layer.c_out // layer.groups) % PACKED == 0:
                raise DeviceError(
                    f"ncnn cannot compute {at} in int8: its depthwise convolution has {layer.c_out // layer.groups} "
                    "outputs a channel, and ncnn answers with garbage from 8 on",
                    hint="use another depthwise_multiplier, or precision=fp32",
                )
