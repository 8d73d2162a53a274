"""A spec laid out, counted twice, and written in the formats asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mnv2search import plugins
from mnv2search.cost import Cost, cost_of
from mnv2search.errors import ExportError, OptionError, UnknownNameError
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import Plan, plan

if TYPE_CHECKING:
    from mnv2search.export.check import ExportReport
    from mnv2search.export.precision import Precision
    from mnv2search.training.figures import Figures

__all__ = ["Compiled", "compile_spec"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """The outcome of a compilation.

    Attributes:
        fvcore_madds: fvcore's count of convolutions and linear layers on the built network, or None.
        exports: one report per written file.
        unreadable: images of the calibration that could not be read.
        judged: what was evaluated on test images and how well it did: the network first, then each written file
            that can be run here.
    """

    plan: Plan
    cost: Cost
    fvcore_madds: int | None
    exports: tuple[ExportReport, ...]
    unreadable: tuple[Path, ...] = ()
    judged: tuple[tuple[str, Figures], ...] = ()


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
        calibration: folder of images to find the ranges of integers on; None takes random numbers.
        normalization: of those images; see `mnv2search.export.calibration`.
        data: images on whose test part the network and the written files are evaluated.

    Raises:
        UnknownNameError: no exporter has that ending.
        OptionError: a file exists and `force` is not given, a format has no such precision, or the images cannot be
            read; nothing was written.
        ExportError: a file cannot be written, or computes something else than the network.
        WeightsError: the weights do not fit.
    """
    from mnv2search.export import export

    if not outputs and (precision != "fp32" or calibration is not None):
        raise OptionError("precision and calibration are of written files, and none is asked for", hint="add -o FILE")
    _check_targets(outputs, force=force, precision=precision)
    numbers, unreadable = _precision(spec, precision, calibration, normalization)
    laid_out = plan(spec)
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
        judged=() if data is None else _judged(spec, weights, outputs, data, normalization),
    )


def _judged(
    spec: ModelSpec, weights: Path | None, outputs: Sequence[Path], data: Path, normalization: str
) -> tuple[tuple[str, Figures], ...]:
    """Top-1 of the network and of what was written, on the same test images.

    Raises:
        OptionError: the weights are random, or the network has other classes than the images.
    """
    from torch import Tensor, nn

    from mnv2search.export import loaded
    from mnv2search.export.check import Run, network
    from mnv2search.spec.model_spec import Classifier
    from mnv2search.training.batches import Cutting
    from mnv2search.training.figures import evaluate
    from mnv2search.training.images import read_image_set
    from mnv2search.training.prepared import image_folder, prepare
    from mnv2search.training.recipe import Recipe

    class Answering(nn.Module):
        def __init__(self, run: Run) -> None:
            super().__init__()
            self.run = run

        def forward(self, images: Tensor) -> Tensor:
            return self.run(images)

    images = read_image_set(data, unpack_to=image_folder())
    if weights is None:
        raise OptionError("the network has random weights: there is nothing to evaluate", hint="give --weights")
    if not isinstance(spec.head, Classifier) or spec.head.classes != len(images.classes):
        raise OptionError(
            f"{spec.name} does not tell the {len(images.classes)} classes of {data} apart",
            hint="give the images that it was trained on",
        )
    prepared = prepare(images, side=spec.resolution, recipe=Recipe(), splits=("test",))
    cutting = Cutting(side=spec.resolution, normalization=normalization)
    runs: list[tuple[str, Run]] = [("the network", network(spec, weights=weights, seed=0))]
    runs += [(str(path), run) for path in outputs if (run := loaded(path)) is not None]
    return tuple((name, evaluate(Answering(run), prepared.parts["test"], cutting)) for name, run in runs)


def _precision(
    spec: ModelSpec, kind: str, calibration: Path | None, normalization: str
) -> tuple[Precision | None, tuple[Path, ...]]:
    """The numbers to write, and images that could not be read."""
    if kind == "fp32" and calibration is None:
        return None, ()
    from mnv2search.export.precision import Precision

    if calibration is None:
        return Precision(kind=kind), ()
    if kind != "int8":
        raise OptionError(f"{kind} needs no images to calibrate with", hint="add --precision int8")
    from mnv2search.export.calibration import calibration_images

    found = calibration_images(calibration, side=spec.resolution, normalization=normalization)
    return Precision(kind=kind, images=found.images), found.broken


def _check_targets(outputs: Sequence[Path], *, force: bool, precision: str) -> None:
    """Refuse what cannot be written before anything is."""
    from mnv2search.export import check_precision

    known = plugins.names("exporter")
    for path in outputs:
        if path.suffix.removeprefix(".") not in known:
            raise UnknownNameError("export format", path.suffix or path.name, (f".{name}" for name in known))
        check_precision(plugins.load("exporter", path.suffix.removeprefix("."))(), precision)
        if path.exists() and not force:
            raise OptionError(f"{path} exists", hint="choose another name, or overwrite it with --force")
        if not path.parent.is_dir():
            raise OptionError(f"the folder of {path} does not exist", hint=f"make it: mkdir -p {path.parent}")
