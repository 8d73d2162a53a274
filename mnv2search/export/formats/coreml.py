"""A Core ML package, converted from a traced program by coremltools."""

from __future__ import annotations

import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import torch

from mnv2search.data.preprocessing import INPUT, KEY, OUTPUT, Preprocessing
from mnv2search.errors import ExportError, extra_module
from mnv2search.export.check import accept, difference, network
from mnv2search.export.formats.exported_program import refuse_suppression
from mnv2search.export.precision import FP32, Precision
from mnv2search.latency.runner.engine import quiet
from mnv2search.model.build import MobileNet
from mnv2search.model.weights.network_file import learned_beside
from mnv2search.results.exports import ExportReport
from mnv2search.spec.model_spec import ModelSpec

# A file that coremltools 9.0 adds for debugging, which no manifest names.
DEBUG_MAP = "executorch_debug_handle_mapping.json"


class CoreMlExporter:
    """`.mlpackage`: an ML program for one image at a time, from iOS 15 and macOS 12 on.

    Only Apple's systems run it, so the program that it is converted from is compared, in single precision.
    """

    suffix = ".mlpackage"
    precisions = ("fp32", "fp16")

    def export(
        self, spec: ModelSpec, *, weights: Path | None, to: Path, seed: int, precision: Precision = FP32
    ) -> ExportReport:
        """Trace the network, compare the traced program with it, convert the program, and write the package."""
        self.check(spec)
        model = network(spec, weights=weights, seed=seed)
        with _silent():
            program = torch.export.export(model, (torch.zeros(1, 3, *spec.size),)).run_decompositions({})
        traced = program.module()
        found = difference(model, lambda images: torch.cat([traced(image) for image in images.split(1)]), seed=seed)  # type: ignore[no-untyped-call]
        accept(found, FP32, to)
        converted = _converted(program, model, Preprocessing.of(model.plan, learned_beside(weights)), precision)
        return ExportReport(
            path=to,
            size_bytes=_write(converted, to),
            tolerance=FP32.accepted,
            precision=precision.kind,
            is_run=False,
            **found._replace(classes=None)._asdict(),
        )

    def check(self, spec: ModelSpec) -> None:
        """Refuse non-maximum suppression, which cannot be traced, and a missing converter."""
        refuse_suppression(spec, self.suffix)
        _library()


def _converted(
    program: torch.export.ExportedProgram, model: MobileNet, preprocessing: Preprocessing, precision: Precision
) -> object:
    library = _library()
    numbers = library.precision.FLOAT16 if precision.kind == "fp16" else library.precision.FLOAT32
    with _silent():
        converted = library.convert(
            program,
            convert_to="mlprogram",
            minimum_deployment_target=library.target.iOS15,
            inputs=[library.TensorType(name=INPUT, shape=(1, 3, *model.spec.size))],
            outputs=[library.TensorType(name=OUTPUT)],
            compute_precision=numbers,
            skip_model_load=True,
        )
    first, second = preprocessing.lines()
    converted.short_description = f"{model.spec.name}, written by mnv2search"
    converted.input_description[INPUT] = first
    converted.output_description[OUTPUT] = second
    converted.user_defined_metadata[KEY] = preprocessing.text("NCHW")
    return converted


def _write(converted: object, to: Path) -> int:
    """Write the package, a folder, beside its target and rename it; returns the size of its files in bytes."""
    try:
        with tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name}.", suffix=".part") as folder:
            beside = Path(folder) / to.name
            with _silent():
                converted.save(str(beside))  # type: ignore[attr-defined]
            (beside / DEBUG_MAP).unlink(missing_ok=True)
            size_bytes = sum(file.stat().st_size for file in beside.rglob("*") if file.is_file())
            if to.is_dir() and not to.is_symlink():
                shutil.rmtree(to)
            else:
                to.unlink(missing_ok=True)
            beside.rename(to)
    except OSError as error:
        raise ExportError(f"{to} cannot be written: {error.strerror or error}", hint="check the folder") from error
    return size_bytes


@contextmanager
def _silent() -> Iterator[None]:
    """Discard warnings of torch and messages of coremltools about versions, and its progress bars."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _library() -> ModuleType:
    with _silent():
        return extra_module("coremltools", feature="writing a .mlpackage", package="coremltools", extra="coreml")
