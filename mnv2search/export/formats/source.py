"""A readable Python module of the network, with no dependency but torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from mnv2search.export.check import ExportReport, Run, network, write_checked
from mnv2search.export.formats.source_text import source_text
from mnv2search.model.build import MobileNet
from mnv2search.spec.model_spec import ModelSpec

__all__ = ["SourceExporter"]


class SourceExporter:
    """`.py`: the layers as a table and the classes they need; it loads the weights of the `.pt` of the same spec."""

    suffix = ".py"

    def export(self, spec: ModelSpec, *, weights: Path | None, to: Path, seed: int) -> ExportReport:
        """Writes the module, runs it with the network's weights and compares the two."""
        model = network(spec, weights=weights, seed=seed)
        text = source_text(model.plan, only_size=model.only_size)

        def write(path: Path) -> None:
            path.write_text(text, encoding="utf-8")

        return write_checked(model, to, seed=seed, write=write, load=lambda path: _load(path, model))


def _load(path: Path, model: MobileNet) -> Run:
    """The network that the module at `path` makes, with the weights of `model`.

    The module runs in a namespace of its own and is not imported, so that nothing is cached beside it.
    """
    namespace: dict[str, Any] = {"__name__": path.stem, "__file__": str(path)}
    exec(compile(path.read_text(encoding="utf-8"), path, "exec"), namespace)
    made = cast("Callable[[], torch.nn.Module]", namespace["network"])()
    made.load_state_dict(model.state_dict())
    made.eval()

    def run(images: Tensor) -> Tensor:
        return cast(Tensor, made(images))

    return run
