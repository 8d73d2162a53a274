"""Weights with their spec."""

from __future__ import annotations

from pathlib import Path

from mnv2search.export.check import Run, network, write_checked
from mnv2search.model.weights.network_file import learned_beside, read_network, told_of, torch_bytes
from mnv2search.results.exports import ExportReport
from mnv2search.spec.model_spec import ModelSpec


class StateDictExporter:
    """`.pt`: a dict of the state dict, the spec's YAML text and the format's version, without code."""

    suffix = ".pt"

    def export(self, spec: ModelSpec, *, weights: Path | None, to: Path, seed: int) -> ExportReport:
        """Write the dict, build the network again from it and compare the two."""
        model = network(spec, weights=weights, seed=seed)
        content = torch_bytes({**told_of(spec, learned_beside(weights)), "state_dict": model.state_dict()})
        return write_checked(model, to, seed=seed, content=content, load=self.load)

    def load(self, path: Path) -> Run:
        """The network of a file."""
        return read_network(path)
