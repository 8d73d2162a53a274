"""A traced program of torch.export, for torch's own deployment tools."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mnv2search.errors import OptionError
from mnv2search.export.check import ExportReport, Run, network, write_checked
from mnv2search.model.build import MobileNet
from mnv2search.model.programs import SUFFIX, write_program
from mnv2search.model.saved import learned_beside, told_of
from mnv2search.spec.model_spec import ModelSpec, SsdLite

__all__ = ["ExportedProgramExporter"]


class ExportedProgramExporter:
    """`.pt2`: the network in evaluation mode for any number of images, read with `torch.export.load`."""

    suffix = SUFFIX

    def export(self, spec: ModelSpec, *, weights: Path | None, to: Path, seed: int) -> ExportReport:
        """Writes the program, loads it and compares the two.

        Raises:
            OptionError: as `check`.
        """
        self.check(spec)
        model = network(spec, weights=weights, seed=seed)
        told = told_of(spec, learned_beside(weights))
        return write_checked(model, to, seed=seed, write=lambda path: _write(model, path, told), load=self.load)

    def check(self, spec: ModelSpec) -> None:
        """Refuses non-maximum suppression.

        Raises:
            OptionError: the network's answer is what non-maximum suppression leaves, which cannot be traced.
        """
        if isinstance(spec.head, SsdLite) and spec.head.output == "detections":
            raise OptionError(
                f"{self.suffix} cannot hold the non-maximum suppression of {spec.name}",
                hint="write .onnx or .tflite, or give the head output: boxes (--head-output boxes)",
            )

    def load(self, path: Path) -> Run:
        """The program of a file."""
        return torch.export.load(path).module()


def _write(model: MobileNet, path: Path, told: Mapping[str, Any]) -> None:
    images = torch.zeros(2, 3, *model.spec.size)
    program = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("images")},))
    # torch 2.13 ends the process where it cannot write to a file of its own
    content = io.BytesIO()
    write_program(program, content, told=told)
    path.write_bytes(content.getbuffer())
