"""Networks written to files that other programs read, each loaded again and compared before it is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from mnv2search import plugins
from mnv2search.errors import ExportError, OptionError, UnknownNameError

if TYPE_CHECKING:
    from mnv2search.export.check import Run
    from mnv2search.export.precision import Precision
    from mnv2search.results.exports import ExportReport
    from mnv2search.spec.model_spec import ModelSpec


# Which of our formats hold a precision, for hints.
HOLDING = {"int8": ".tflite, .onnx and .pte files hold int8", "fp16": ".tflite files hold fp16"}


class Exporter(Protocol):
    """A format of files; the entry-point group ``mnv2search.exporters`` takes more, named by their suffix."""

    suffix: str

    def export(self, spec: ModelSpec, *, weights: Path | None, to: Path, seed: int) -> ExportReport:
        """Writes the network, loads what was written and compares the two.

        An exporter that has `precisions`, a tuple of their names, takes the `Precision` to write in too.

        Raises:
            ExportError: the file cannot be written or computes something else; then nothing is left behind.
            WeightsError: the weights do not fit.
        """


@runtime_checkable
class CheckingExporter(Protocol):
    """An exporter that can say without any work that it cannot write a network."""

    def check(self, spec: ModelSpec) -> None:
        """Refuses what its files cannot hold, or what cannot be compared here.

        Raises:
            OptionError: its files cannot hold the network.
            MissingExtraError: the runtime is not installed.
        """


@runtime_checkable
class LoadingExporter(Protocol):
    """An exporter whose files can be run here."""

    def load(self, path: Path) -> Run:
        """What the network of a file computes: logits (N, classes) of images (N, 3, S, S)."""


def loaded(path: Path) -> Run | None:
    """What the network of a written file computes; None where files of its format are not run here."""
    exporter = _exporter(path)
    return exporter.load(path) if isinstance(exporter, LoadingExporter) else None


def check_suffix(to: Path) -> None:
    """Refuse a file whose ending no exporter has, by an UnknownNameError; imports none of them."""
    known = plugins.names("exporter")
    if to.suffix.removeprefix(".") not in known:
        raise UnknownNameError("export format", to.suffix or to.name, (f".{name}" for name in known))


def _exporter(to: Path) -> Exporter:
    check_suffix(to)
    exporter: Exporter = plugins.load("exporter", to.suffix.removeprefix("."))()
    return exporter


def check_export(spec: ModelSpec, to: Path, *, precision: str) -> None:
    """Refuse what cannot be written, before anything is built.

    Raises:
        UnknownNameError: no format has the suffix.
        OptionError: the format has no such precision, or cannot hold the network.
        MissingExtraError: the runtime that the file is compared in is not installed.
    """
    exporter = _exporter(to)
    _check_precision(exporter, precision)
    if isinstance(exporter, CheckingExporter):
        exporter.check(spec)


def export(
    spec: ModelSpec,
    to: Path,
    *,
    weights: Path | None = None,
    seed: int = 0,
    force: bool = False,
    precision: Precision | None = None,
) -> ExportReport:
    """Writes the network of `spec` in the format that the suffix of `to` names.

    `.pt`, `.pt2`, `.onnx`, `.tflite`, `.pte` and `.py` are built in. Weights come from a file that
    `mnv2search.model.weights.load.load_weights` reads; None draws untrained ones from `seed`, as the images for the
    comparison are. A file that exists is replaced only with `force`.

    Raises:
        UnknownNameError: no format has the suffix.
        OptionError: the format has no such precision.
        ExportError: the file exists, cannot be written or computes something else.
        WeightsError: the weights do not fit.
    """
    exporter = _exporter(to)
    if to.exists() and not force:
        raise ExportError(f"{to} exists", hint="choose another name, or ask for it to be replaced (force)")
    if precision is None or precision.kind == "fp32":
        return exporter.export(spec, weights=weights, to=to, seed=seed)
    _check_precision(exporter, precision.kind)
    write: Callable[..., ExportReport] = exporter.export
    return write(spec, weights=weights, to=to, seed=seed, precision=precision)


def _check_precision(exporter: Exporter, kind: str) -> None:
    precisions: tuple[str, ...] = getattr(exporter, "precisions", ("fp32",))
    if kind not in precisions:
        raise OptionError(
            f"{exporter.suffix} files hold {' or '.join(precisions)}, not {kind}", hint=HOLDING.get(kind, "")
        )
