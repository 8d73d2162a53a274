"""A readable Python module of the network, with no dependency but torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from mnv2search.export.check import Run, check_written, network, write_checked
from mnv2search.export.formats.source_text import source_text
from mnv2search.model.build import MobileNet
from mnv2search.results.exports import ExportReport
from mnv2search.spec.model_spec import ModelSpec


class SourceExporter:
    """`.py`: the layers as a table and the classes they need; it loads the weights of the `.pt` of the same spec."""

    suffix = ".py"

    def export(self, spec: ModelSpec, *, weights: Path | None, to: Path, seed: int) -> ExportReport:
        """Writes the module, runs it with the network's weights and compares the two."""
        model = network(spec, weights=weights, seed=seed)
        text = source_text(model.plan, only_size=model.only_size)
        content = text.encode()

        def load(path: Path) -> Run:
            check_written(path, content)
            return _run(text, path, model)

        return write_checked(model, to, seed=seed, write=lambda path: _write(path, content), load=load)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _run(text: str, path: Path, model: MobileNet) -> Run:
    """The network that an exported module creates, with the weights of `model`; `path` is for tracebacks only.

    The module runs in its own namespace and is not imported, so that no bytecode is cached next to it.
    """
    namespace: dict[str, object] = {"__name__": path.stem, "__file__": str(path)}
    exec(compile(text, path, "exec"), namespace)
    made = cast("Callable[[], torch.nn.Module]", namespace["network"])()
    made.load_state_dict(model.state_dict())
    made.eval()

    def run(images: Tensor) -> Tensor:
        return cast(Tensor, made(images))

    return run
