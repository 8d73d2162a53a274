"""A traced program of torch.export, for torch's own deployment tools."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import torch

from mnv2search.data.preprocessing import KEY, Preprocessing
from mnv2search.errors import OptionError
from mnv2search.export.check import Run, network, write_checked
from mnv2search.model.build import MobileNet
from mnv2search.model.weights.network_file import learned_beside, read_network, told_of
from mnv2search.model.weights.programs import SUFFIX, write_program
from mnv2search.results.exports import ExportReport
from mnv2search.spec.model_spec import ModelSpec, SsdLite


class ExportedProgramExporter:
    """`.pt2`: the network in evaluation mode for any number of images, read with `torch.export.load`."""

    suffix = SUFFIX

    def export(self, spec: ModelSpec, *, weights: Path | None, to: Path, seed: int) -> ExportReport:
        """Write the program, load it and compare the two."""
        self.check(spec)
        model = network(spec, weights=weights, seed=seed)
        learned = learned_beside(weights)
        preprocessing = Preprocessing.of(model.plan, learned)
        content = _program_bytes(model, told_of(spec, learned), {f"{KEY}.json": preprocessing.text("NCHW")})

        def load(_: Path) -> Run:
            # torch.export.load runs code from its input: it only gets bytes that this process made, never a file
            return torch.export.load(io.BytesIO(content)).module()

        return write_checked(model, to, seed=seed, content=content, load=load)

    def check(self, spec: ModelSpec) -> None:
        """Refuse non-maximum suppression, which cannot be traced."""
        refuse_suppression(spec, self.suffix)

    def load(self, path: Path) -> Run:
        """The network of a file, built from its spec and weights; the program in the file is not run."""
        return read_network(path)


def refuse_suppression(spec: ModelSpec, suffix: str) -> None:
    """Refuse non-maximum suppression, which cannot be traced.

    Raises:
        OptionError: the network contains it.
    """
    if isinstance(spec.head, SsdLite) and spec.head.output == "detections":
        raise OptionError(
            f"{suffix} does not support the non-maximum suppression of {spec.name}",
            hint="write .onnx or .tflite, or give the head output: boxes (--head-output boxes)",
        )


def _program_bytes(model: MobileNet, told: Mapping[str, object], others: Mapping[str, str]) -> bytes:
    images = torch.zeros(2, 3, *model.spec.size)
    program = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("images")},))
    content = io.BytesIO()  # torch 2.13 aborts the process if it opens a file itself and cannot write to it
    write_program(program, content, told=told, others=others)
    return content.getvalue()
