"""A spec laid out, counted twice, and written in the formats asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mnv2search.cost import cost_of
from mnv2search.errors import ExportError, OptionError
from mnv2search.results.exports import Compiled
from mnv2search.spec.heads.outputs import with_output
from mnv2search.spec.model_spec import DeepLab, ModelSpec, SsdLite
from mnv2search.spec.plan import Plan, plan
from mnv2search.spec.size import Resolution
from mnv2search.spec.space import SearchSpace
from mnv2search.workflows.networks import SAVED, chosen_spec, weights_beside

if TYPE_CHECKING:
    from mnv2search.export.calibration import Calibration
    from mnv2search.export.precision import Precision


def compile_file(
    source: str | Path | ModelSpec | SearchSpace,
    *,
    outputs: Sequence[Path] = (),
    weights: Path | None = None,
    picks: Sequence[str] = (),
    first: bool = False,
    width: float | None = None,
    resolution: Resolution | None = None,
    head_output: str | None = None,
    seed: int = 0,
    force: bool = False,
    with_fvcore: bool = True,
    precision: str = "fp32",
    calibration: Path | None = None,
    normalization: str = "imagenet",
    data: Path | None = None,
    note: Callable[[str], None] | None = None,
) -> Compiled:
    """Compile the network of a file, a bundled name, a spec or a search space, as `compile_spec` does.

    `picks`, `first`, `width`, `resolution` and `head_output` are those of `chosen_spec`.
    Without `weights`, those in `source` or beside it are taken, if there are any; `note` gets a line on that.

    Raises:
        OptionError: a choice is made for a file that holds its own spec and weights.
    """
    check_request(outputs, force=force, precision=precision, calibration=calibration)
    file = str(source) if isinstance(source, str | Path) else ""
    if file.endswith(SAVED):
        if weights is not None or first or any(one for one in (picks, width, resolution)):
            raise OptionError(f"{file} holds its own spec and weights", hint="leave out what would change them")
        weights = Path(file)
    spec = chosen_spec(source, picks=picks, first=first, width=width, resolution=resolution)
    if file and weights is None and outputs and Path(file).with_suffix(".pt") not in outputs:
        weights = weights_beside(file, spec, note=note or _silent)
    return compile_spec(
        spec if head_output is None else with_output(spec, head_output),
        outputs=outputs,
        weights=weights,
        seed=seed,
        force=force,
        with_fvcore=with_fvcore,
        precision=precision,
        calibration=calibration,
        normalization=normalization,
        data=data,
    )


def _silent(_: str) -> None:
    """Drop a line."""


def compile_spec(
    spec: ModelSpec,
    *,
    outputs: Sequence[Path] = (),
    weights: Path | None = None,
    seed: int = 0,
    force: bool = False,
    with_fvcore: bool = True,
    precision: str = "fp32",
    calibration: Path | None = None,
    normalization: str = "imagenet",
    data: Path | None = None,
) -> Compiled:
    """Lay out a network, count it, and write it to each path in the format of its ending.

    Args:
        spec: the network.
        outputs: files to write; the endings are those of the exporters.
        weights: file to load; None draws random weights from `seed`.
        seed: of random weights.
        force: overwrite existing files.
        with_fvcore: build the network and let fvcore count it too.
        precision: ``fp32``, ``fp16`` or ``int8``, of the files.
        calibration: folder of images, or of scenes with boxes or masks, to find the ranges of integers on; None
            takes the training images of `data`, or random numbers where there is no `data` either.
        normalization: of those images; see `mnv2search.export.calibration`.
        data: images on whose test part the network and the written files are evaluated.

    Raises:
        UnknownNameError: no exporter has that ending.
        DataError: `data` cannot be read as the network needs it.
        OptionError: the request cannot be met, see `check_request`, or the network takes more memory than there is.
        MissingExtraError: a format's runtime is not installed.
        ExportError: a file cannot be written, or computes something else than the network.
        WeightsError: the weights do not fit.
    """
    from mnv2search.export import check_export, export
    from mnv2search.workflows.export.evaluate_exports import export_evaluator

    check_request(outputs, force=force, precision=precision, calibration=calibration)
    for path in outputs:
        check_export(spec, path, precision=precision)
    laid_out = plan(spec)
    _check_memory(laid_out, is_written=bool(outputs), is_built=with_fvcore)
    evaluate_all = None if data is None else export_evaluator(spec, weights, data, normalization)
    numbers, unreadable = _precision(spec, precision, calibration, normalization, data)
    counted = _fvcore_count(laid_out, seed) if with_fvcore else None
    if weights is not None and not outputs:
        _check_weights(laid_out, weights, seed)
    reports = [export(spec, path, weights=weights, seed=seed, force=force, precision=numbers) for path in outputs]
    judged = () if evaluate_all is None else evaluate_all(outputs)
    return Compiled(
        plan=laid_out,
        cost=cost_of(laid_out),
        fvcore_madds=counted,
        exports=tuple(reports),
        unreadable=unreadable,
        judged=judged,
    )


def _check_memory(laid_out: Plan, *, is_written: bool, is_built: bool) -> None:
    """Refuse a network that takes more memory than there is: itself, its arrays and the file, and two images."""
    from mnv2search.model.memory import check_memory

    if is_written:
        check_memory(laid_out, copies=3, images=2)
    elif is_built:
        check_memory(laid_out, images=1)


def _fvcore_count(laid_out: Plan, seed: int) -> int:
    """The multiply-adds by fvcore, which must be those of the plan."""
    from mnv2search.model.build import build
    from mnv2search.model.fvcore_count import fvcore_madds

    counted, planned = fvcore_madds(build(laid_out, seed=seed)), cost_of(laid_out).madds
    if abs(counted - planned) > 1:
        raise ExportError(f"fvcore counts {counted:,} multiply-adds, the plan {planned:,}")
    return counted


def _check_weights(laid_out: Plan, weights: Path, seed: int) -> None:
    from mnv2search.model.build import build
    from mnv2search.model.weights.load import load_weights

    load_weights(build(laid_out, seed=seed), weights)


def _precision(
    spec: ModelSpec, kind: str, calibration: Path | None, normalization: str, data: Path | None
) -> tuple[Precision | None, tuple[Path, ...]]:
    """The numbers to write, and images that could not be read."""
    if kind == "fp32":
        return None, ()
    from mnv2search.export.precision import Precision

    if kind == "int8" and calibration is None and data is not None:
        found = _calibration(spec, data, normalization) if _is_dense(spec) else _learned(spec, data, normalization)
        return Precision(kind=kind, images=found.images), found.broken
    if calibration is None:
        return Precision(kind=kind), ()
    found = _calibration(spec, calibration, normalization)
    return Precision(kind=kind, images=found.images), found.broken


def _is_dense(spec: ModelSpec) -> bool:
    return isinstance(spec.head, SsdLite | DeepLab)


def _calibration(spec: ModelSpec, source: Path, normalization: str) -> Calibration:
    """Images cut as for evaluation: of classifiers the middle, of scenes the whole, and of those for learning."""
    from mnv2search.export.calibration import calibration_images

    if not _is_dense(spec):
        return calibration_images(source, size=spec.size, normalization=normalization)
    from mnv2search.errors import DataError
    from mnv2search.tasks.task import task_of

    try:
        scenes = task_of(spec).read(source)
    except DataError:
        if not source.is_dir():
            raise
        # images on their own: nothing but their pixels is needed
        return calibration_images(source, size=spec.size, normalization=normalization, whole=True)
    files = [scene.path for scene in scenes.train]
    return calibration_images(source, files=files, size=spec.size, normalization=normalization, whole=True)


def _learned(spec: ModelSpec, source: Path, normalization: str) -> Calibration:
    """The images of classes that a classifier learns from, cut as for evaluation."""
    from mnv2search.data.reading import image_folder, read_dataset
    from mnv2search.export.calibration import calibration_images

    files = [example.path for example in read_dataset(source, "classification", unpack_to=image_folder()).train]
    return calibration_images(source, files=files, size=spec.size, normalization=normalization)


def check_request(outputs: Sequence[Path], *, force: bool, precision: str, calibration: Path | None) -> None:
    """Refuse options that do not go together and files that cannot be written; loads no package of networks.

    Raises:
        UnknownNameError: no exporter has that ending.
        OptionError: a file exists and `force` is not given, its folder is missing or closed to writing, or an option
            is of no use.
    """
    from mnv2search.export import check_suffix

    if not outputs and (precision != "fp32" or calibration is not None):
        raise OptionError("precision and calibration are of written files, and none is asked for", hint="add -o FILE")
    if calibration is not None and precision != "int8":
        raise OptionError(f"{precision} needs no images to calibrate with", hint="add --precision int8")
    for path in outputs:
        check_suffix(path)
        if path.exists() and not force:
            raise OptionError(f"{path} exists", hint="choose another name, or overwrite it with --force")
        if not path.parent.is_dir():
            raise OptionError(f"the folder of {path} does not exist", hint=f"make it: mkdir -p {path.parent}")
        if not os.access(path.parent, os.W_OK):
            raise OptionError(f"the folder of {path} cannot be written to", hint="choose another folder")
    if len(set(outputs)) < len(outputs):
        raise OptionError("the same file is asked for twice", hint="give each -o another name")
