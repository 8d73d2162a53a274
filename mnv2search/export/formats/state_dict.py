"""Weights with their spec."""

from __future__ import annotations

from pathlib import Path

from mnv2search.data.preprocessing import KEY, Preprocessing
from mnv2search.export.check import Run, network, write_checked
from mnv2search.model.weights.network_file import learned_beside, read_network, told_of, torch_bytes
from mnv2search.results.exports import ExportReport
from mnv2search.spec.model_spec import ModelSpec


class StateDictExporter:
    """`.pt`: a dict, without code: state dict, spec as YAML text, preprocessing, and the version of the format."""

    suffix = ".pt"

    def export(self, spec: ModelSpec, *, weights: Path | None, to: Path, seed: int) -> ExportReport:
        """Write the dict, build the network again from it and compare the two."""
        model = network(spec, weights=weights, seed=seed)
        learned = learned_beside(weights)
        told = {**told_of(spec, learned), KEY: Preprocessing.of(model.plan, learned).text("NCHW")}
        content = torch_bytes({**told, "state_dict": model.state_dict()})
        return write_checked(model, to, seed=seed, content=content, load=self.load)

    def load(self, path: Path) -> Run:
        """The network of a file."""
        return read_network(path)
