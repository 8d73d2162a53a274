"""An ExecuTorch program, written directly from the plan."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from mnv2search.errors import extra_module
from mnv2search.export.check import Run
from mnv2search.export.formats.artifact_exporter import LoweredExporter, NetworkContent
from mnv2search.latency.runner.engine import quiet
from mnv2search.lowering.emit import refuse_choice
from mnv2search.lowering.executorch.program import PROGRAM, executorch_bytes
from mnv2search.spec.model_spec import ModelSpec


class ExecuTorchExporter(LoweredExporter):
    """`.pte`: batch norm folded, the whole network in the XNNPACK delegate, one image at a time."""

    suffix = ".pte"
    precisions = ("fp32", "int8")
    has_metadata = False

    def check(self, spec: ModelSpec) -> None:
        """Raise an error for a head that selects boxes or classes, and for a missing runtime."""
        refuse_choice(spec, PROGRAM)
        _library()

    def lowered(self, content: NetworkContent) -> bytes:
        """The program."""
        return executorch_bytes(content.plan, content.arrays, ranges=content.ranges)

    def run(self, source: Path | bytes) -> Run:
        """The function computed by the program of a file."""
        library = _library()
        with quiet():  # it prints properties of the processor
            program = library._load_for_executorch(str(source))

        def run(images: Tensor) -> Tensor:
            with quiet():  # the first run prints too
                # ExecuTorch 1.5 ignores strides
                answers = [program.forward((image.contiguous(),))[0] for image in torch.split(images, 1)]
            return torch.cat(answers)

        return run


def _library() -> ModuleType:
    name = "executorch.extension.pybindings.portable_lib"
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ExecuTorch 1.5 calls functions that torch 2.13 deprecates
        return extra_module(name, feature="checking a .pte file", package="executorch", extra="executorch")
