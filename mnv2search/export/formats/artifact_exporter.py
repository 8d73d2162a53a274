"""The base of exporters whose files are written straight from the plan."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from mnv2search.export.arrays import layer_arrays
from mnv2search.export.check import Run, network, write_checked
from mnv2search.export.precision import FP32, Precision
from mnv2search.export.selection import choice_of
from mnv2search.lowering.quantize import Ranges
from mnv2search.lowering.types import NetworkArrays
from mnv2search.results.exports import ExportReport
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import Plan


class LoweredExporter(ABC):
    """An exporter that lowers a plan to bytes, and runs them in the format's runtime."""

    suffix: ClassVar[str]
    precisions: ClassVar[tuple[str, ...]]

    def check(self, spec: ModelSpec) -> None:
        """Refuse what the format cannot hold or what cannot be compared here, before any work.

        Raises:
            OptionError: the format cannot hold the network.
            MissingExtraError: the runtime is not installed.
        """
        del spec  # a format that holds every network, in a runtime that is always there

    @abstractmethod
    def lowered(self, plan: Plan, arrays: NetworkArrays, ranges: Ranges | None, precision: Precision) -> bytes:
        """The content of a file."""

    @abstractmethod
    def run(self, source: Path | bytes) -> Run:
        """The function that a file, or its content, computes."""

    def load(self, path: Path) -> Run:
        """The function that the network of a file computes."""
        return self.run(path)

    def export(
        self, spec: ModelSpec, *, weights: Path | None, to: Path, seed: int, precision: Precision = FP32
    ) -> ExportReport:
        """Write a file, load it and compare it with the network.

        Raises:
            OptionError: the format cannot hold the network.
            MissingExtraError: the runtime is not installed.
        """
        self.check(spec)
        model = network(spec, weights=weights, seed=seed)
        arrays = layer_arrays(model)
        ranges = precision.ranges(model.plan, arrays)
        content = self.lowered(model.plan, arrays, ranges, precision)

        def write(path: Path) -> None:
            path.write_bytes(content)

        def run(plan: Plan) -> Run:
            return self.run(self.lowered(plan, arrays, ranges, precision))

        reference = choice_of(model, to, seed=seed, precision=precision, run=run)
        return write_checked(
            model, to, seed=seed, write=write, load=self.load, precision=precision, reference=reference
        )
