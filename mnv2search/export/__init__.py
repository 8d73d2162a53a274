"""Networks written to files that other programs read, each loaded again and compared before it is kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mnv2search.errors import ExportError, UnknownNameError

if TYPE_CHECKING:
    from mnv2search.export.check import ExportReport
    from mnv2search.spec.model_spec import ModelSpec

__all__ = ["Exporter", "export"]


class Exporter(Protocol):
    """A format of files; the entry-point group ``mnv2search.exporters`` takes more, named by their suffix."""

    suffix: str

    def export(self, spec: ModelSpec, *, weights: Path | None, to: Path, seed: int) -> ExportReport:
        """Writes the network, loads what was written and compares the two.

        Raises:
            ExportError: the file cannot be written or computes something else; then nothing is left behind.
            WeightsError: the weights do not fit.
        """
        ...


def export(
    spec: ModelSpec, to: Path, *, weights: Path | None = None, seed: int = 0, force: bool = False
) -> ExportReport:
    """Writes the network of `spec` in the format that the suffix of `to` names.

    Args:
        spec: the network.
        to: the file; `.pt`, `.pt2`, `.onnx`, `.tflite`, `.pte` and `.py` are built in.
        weights: a file that `mnv2search.model.weights.load_weights` reads; None takes untrained weights.
        seed: of the untrained weights and of the images for the comparison.
        force: replace a file that exists.

    Raises:
        UnknownNameError: no format has the suffix.
        ExportError: the file exists, cannot be written or computes something else.
        WeightsError: the weights do not fit.
    """
    from mnv2search import plugins

    name = to.suffix.removeprefix(".")
    known = plugins.names("exporter")
    if name not in known:
        raise UnknownNameError("export format", to.suffix or to.name, (f".{n}" for n in known))
    exporter: Exporter = plugins.load("exporter", name)()
    if to.exists() and not force:
        raise ExportError(f"{to} exists", hint="choose another name, or ask for it to be replaced (force)")
    return exporter.export(spec, weights=weights, to=to, seed=seed)
