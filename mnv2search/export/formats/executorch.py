"""An ExecuTorch program, written straight from the plan."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mnv2search.errors import MissingExtraError
from mnv2search.export.arrays import layer_arrays
from mnv2search.export.check import Run, network, write_checked
from mnv2search.export.precision import FP32, Precision
from mnv2search.latency.runner.quiet import quiet
from mnv2search.lowering.executorch.program import PROGRAM, executorch_bytes
from mnv2search.lowering.support import refuse_choice
from mnv2search.results.exports import ExportReport
from mnv2search.spec.model_spec import ModelSpec

__all__ = ["ExecuTorchExporter"]


class ExecuTorchExporter:
    """`.pte`: batch norm folded, all of it in the XNNPACK delegate, one image at a time."""

    suffix = ".pte"
    precisions = ("fp32", "int8")

    def export(
        self, spec: ModelSpec, *, weights: Path | None, to: Path, seed: int, precision: Precision = FP32
    ) -> ExportReport:
        """Writes the program, runs it in ExecuTorch and compares the two.

        Raises:
            MissingExtraError: ExecuTorch is not installed.
        """
        model = network(spec, weights=weights, seed=seed)
        arrays = layer_arrays(model)
        _library()  # before the work, what is missing
        content = executorch_bytes(model.plan, arrays, ranges=precision.ranges(model.plan, arrays))

        def write(path: Path) -> None:
            path.write_bytes(content)

        return write_checked(model, to, seed=seed, write=write, load=self.load, precision=precision)

    def check(self, spec: ModelSpec) -> None:
        """Refuses a head that chooses among its answers.

        Raises:
            OptionError: the head is such.
            MissingExtraError: ExecuTorch is not installed.
        """
        refuse_choice(spec, PROGRAM)
        _library()

    def load(self, path: Path) -> Run:
        """What the program of a file computes.

        Raises:
            MissingExtraError: ExecuTorch is not installed.
        """
        library = _library()
        with quiet():  # it says what it finds out about the processor
            program = library._load_for_executorch(str(path))

        def run(images: Tensor) -> Tensor:
            with quiet():  # the first run too
                # ExecuTorch 1.5 takes the numbers in the order in which they lie in memory
                answers = [program.forward((image.contiguous(),))[0] for image in torch.split(images, 1)]
            return torch.cat(answers)

        return run


def _library() -> Any:
    try:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ExecuTorch 1.5 calls what torch 2.13 says is old
            from executorch.extension.pybindings import portable_lib  # late: it is an extra
    except ImportError as error:
        raise MissingExtraError(feature="checking a .pte file", package="executorch", extra="executorch") from error
    return portable_lib
