"""Export of networks to files for other programs; each file is loaded and compared before it is kept."""

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


# Formats that support a precision, for hints.
HOLDING = {"int8": ".tflite, .onnx and .pte files support int8", "fp16": ".tflite and .mlpackage files support fp16"}


class Exporter(Protocol):
    """A file format; packages add formats to the entry-point group ``mnv2search.exporters``, named by the suffix."""

    suffix: str

    def export(self, spec: ModelSpec, *, weights: Path | None, to: Path, seed: int) -> ExportReport:
        """Write the network, load the file and compare the two.

        An exporter with `precisions`, a tuple of their names, also takes a `Precision`.

        Raises:
            ExportError: the file cannot be written or computes something else; no file is left behind.
            WeightsError: the weights do not fit.
        """


@runtime_checkable
class CheckingExporter(Protocol):
    """An exporter that can check quickly whether it can write a network."""

    def check(self, spec: ModelSpec) -> None:
        """Refuse a network that the format does not support, or that cannot be compared on this machine.

        Raises:
            OptionError: the format does not support the network.
            MissingExtraError: the runtime is not installed.
        """


@runtime_checkable
class LoadingExporter(Protocol):
    """An exporter whose files can be run by this package."""

    def load(self, path: Path) -> Run:
        """The function of the network in a file: logits (N, classes) of images (N, 3, S, S)."""


def loaded(path: Path) -> Run | None:
    """The function of the network in a written file; None if files of its format cannot be run."""
    exporter = _exporter(path)
    return exporter.load(path) if isinstance(exporter, LoadingExporter) else None


def check_suffix(to: Path) -> None:
    """Raise an UnknownNameError if no exporter has the file's suffix, without importing any exporter."""
    known = plugins.names("exporter")
    if to.suffix.removeprefix(".") not in known:
        raise UnknownNameError("export format", to.suffix or to.name, (f".{name}" for name in known))


def _exporter(to: Path) -> Exporter:
    check_suffix(to)
    exporter: Exporter = plugins.load("exporter", to.suffix.removeprefix("."))()
    return exporter


def check_export(spec: ModelSpec, to: Path, *, precision: str) -> None:
    """Check whether a network can be written, before anything is built.

    Raises:
        UnknownNameError: no format has the suffix.
        OptionError: the format does not support the precision or the network.
        MissingExtraError: the runtime for the comparison is not installed.
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
    """Write the network of `spec` in the format given by the suffix of `to`.

    `.pt`, `.pt2`, `.onnx`, `.tflite`, `.pte`, `.mlpackage` and `.py` are built in. `weights` is a file for
    `mnv2search.model.weights.load.load_weights`; None draws random weights from `seed`, which also seeds the images
    for the comparison. An existing file is replaced only with `force`.

    Raises:
        UnknownNameError: no format has the suffix.
        OptionError: the format does not support the precision.
        ExportError: the file exists, cannot be written or computes something else.
        WeightsError: the weights do not fit.
    """
    exporter = _exporter(to)
    written = [to] if getattr(exporter, "has_metadata", True) else [to, to.with_name(f"{to.name}.json")]
    for path in () if force else written:
        if path.exists():
            raise ExportError(f"{path} exists", hint="choose another name, or ask for it to be replaced (force)")
    if precision is None or precision.kind == "fp32":
        return exporter.export(spec, weights=weights, to=to, seed=seed)
    _check_precision(exporter, precision.kind)
    write: Callable[..., ExportReport] = exporter.export
    return write(spec, weights=weights, to=to, seed=seed, precision=precision)


def _check_precision(exporter: Exporter, kind: str) -> None:
    precisions: tuple[str, ...] = getattr(exporter, "precisions", ("fp32",))
    if kind not in precisions:
        raise OptionError(
            f"{exporter.suffix} files support {' or '.join(precisions)}, not {kind}", hint=HOLDING.get(kind, "")
        )
