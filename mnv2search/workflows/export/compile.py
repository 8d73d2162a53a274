"""A spec laid out, counted twice, and written in the formats asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mnv2search.cost import cost_of
from mnv2search.errors import ExportError, OptionError
from mnv2search.results.exports import Compiled
from mnv2search.spec.model_spec import DeepLab, ModelSpec, SsdLite
from mnv2search.spec.plan import plan

if TYPE_CHECKING:
    from mnv2search.export.calibration import Calibration
    from mnv2search.export.precision import Precision

__all__ = ["check_request", "compile_spec"]


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
        OptionError: a file exists and `force` is not given, a format has no such precision or cannot hold the
            network, the images cannot be read, or the network takes more memory than there is; nothing was
            written.
        MissingExtraError: a format's runtime is not installed; nothing was written.
        ExportError: a file cannot be written, or computes something else than the network.
        WeightsError: the weights do not fit.
    """
    from mnv2search.export import check_export, export
    from mnv2search.model.memory import check_memory
    from mnv2search.workflows.export.evaluate_exports import judging

    check_request(outputs, force=force, precision=precision, calibration=calibration)
    for path in outputs:
        check_export(spec, path, precision=precision)
    laid_out = plan(spec)
    if outputs:  # memory for the network, its arrays and the file, compared on two images
        check_memory(laid_out, copies=3, images=2)
    elif with_fvcore:
        check_memory(laid_out, images=1)
    judge = None if data is None else judging(spec, weights, data, normalization)
    numbers, unreadable = _precision(spec, precision, calibration, normalization, data)
    cost = cost_of(laid_out)
    counted = None
    if with_fvcore:
        from mnv2search.model.build import build
        from mnv2search.model.fvcore_count import fvcore_madds

        counted = fvcore_madds(build(laid_out, seed=seed))
        if abs(counted - cost.madds) > 1:
            raise ExportError(f"fvcore counts {counted:,} multiply-adds, the plan {cost.madds:,}")
    if weights is not None and not outputs:
        from mnv2search.model.build import build
        from mnv2search.model.weights import load_weights

        load_weights(build(spec, seed=seed), weights)
    reports = [export(spec, path, weights=weights, seed=seed, force=force, precision=numbers) for path in outputs]
    return Compiled(
        plan=laid_out,
        cost=cost,
        fvcore_madds=counted,
        exports=tuple(reports),
        unreadable=unreadable,
        judged=() if judge is None else judge(outputs),
    )


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
    from mnv2search.export.calibration import calibration_images, images_of

    if not _is_dense(spec):
        return calibration_images(source, size=spec.size, normalization=normalization)
    from mnv2search.data.prepare import image_folder
    from mnv2search.data.readers.scene_sets import read_scene_set
    from mnv2search.errors import DataError
    from mnv2search.tasks.task import task_of

    try:
        scenes = read_scene_set(source, task_of(spec), unpack_to=image_folder())
    except DataError:
        if not source.is_dir():
            raise
        # images on their own: nothing but their pixels is needed
        return calibration_images(source, size=spec.size, normalization=normalization, whole=True)
    files = [scene.image for scene in scenes.train]
    return images_of(files, source=source, size=spec.size, normalization=normalization, whole=True)


def _learned(spec: ModelSpec, source: Path, normalization: str) -> Calibration:
    """The images of classes that a classifier learns from, cut as for evaluation."""
    from mnv2search.data.images import read_image_set
    from mnv2search.data.prepare import image_folder
    from mnv2search.export.calibration import images_of

    files = [example.path for example in read_image_set(source, unpack_to=image_folder()).train]
    return images_of(files, source=source, size=spec.size, normalization=normalization)


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
