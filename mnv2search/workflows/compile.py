"""Count, export and evaluate the network of a spec."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from mnv2search.cost import cost_of
from mnv2search.errors import ExportError, OptionError, WeightsError
from mnv2search.model.weights.places import OURS
from mnv2search.results.exports import Compiled, Judged
from mnv2search.spec.heads.outputs import with_output
from mnv2search.spec.model_spec import Classifier, DeepLab, ModelSpec, SsdLite
from mnv2search.spec.plan import Plan, plan
from mnv2search.spec.space import SearchSpace
from mnv2search.workflows.options import (
    SPEC_DEFAULTS,
    SpecOptions,
    check_output,
    chosen_spec,
    path_of,
    paths_of,
    takes,
)
from mnv2search.workflows.weights import is_file_name

if TYPE_CHECKING:
    from mnv2search.data.preprocessing import Preprocessing
    from mnv2search.export.calibration import Calibration
    from mnv2search.export.precision import Precision
    from mnv2search.model.weights.network_file import Learned


@dataclass(frozen=True, slots=True, kw_only=True)
class _Files:
    outputs: Sequence[Path]
    force: bool
    precision: str
    calibration: Path | None
    normalization: str | None
    data: Path | None
    seed: int


@takes(SpecOptions, SPEC_DEFAULTS)
def compile(
    spec: ModelSpec | SearchSpace | str | Path,
    *,
    output: Sequence[str | Path] | str | Path = (),
    weights: str | Path | None = None,
    precision: str = "fp32",
    calibration: str | Path | None = None,
    normalization: str | None = None,
    data: str | Path | None = None,
    seed: int = 0,
    force: bool = False,
    no_fvcore: bool = False,
    on_note: Callable[[str], None] = lambda _: None,
    **options: Unpack[SpecOptions],
) -> Compiled:
    """Count the parameters and multiply-adds of a network and export it, as `mnv2search compile` does.

    Args:
        spec: a network or a search space, its file or its published name, or a `.pt` or `.pt2` file with its weights.
        output: files to write; the extension of each sets its format.
        weights: weights file, a name of `mnv2search weights list`, or ``imagenet`` for the published weights of this
            network; by default the weights in the file of the spec or beside it, or random ones.
        precision: precision of the files: ``fp32``, ``fp16`` or ``int8``.
        calibration: images from which int8 ranges are computed: a folder, or a dataset as for `data`.
        normalization: normalization of the images; by default that of the weights' training, or else ``imagenet``.
        data: images to evaluate the network and the files on.
        seed: random seed of the weights, if they are random.
        force: overwrite existing files.
        no_fvcore: skip the count by fvcore, which builds the network.
        options: see `SpecOptions`.
        on_note: called with a message about the weights.

    Raises:
        Mnv2SearchError: a file cannot be written, or an option does not suit the network.
    """
    files = _Files(
        outputs=paths_of(output),
        force=force,
        precision=precision,
        calibration=path_of(calibration),
        normalization=normalization,
        data=path_of(data),
        seed=seed,
    )
    _check_files(files)
    own = Path(spec) if isinstance(spec, str | Path) and str(spec).endswith(OURS) else None
    head_output = options.pop("head_output", None)
    if own and (weights is not None or any(options.values())):
        raise OptionError(f"{spec} holds its own spec and weights", hint="leave out options that change them")
    network = chosen_spec(spec, **options)
    found = _given_weights(weights, network, on_note) or own or _weights_beside(spec, network, files.outputs, on_note)
    network = network if head_output is None else with_output(network, head_output)
    return _compiled(network, found, files, with_fvcore=not no_fvcore)


def _given_weights(weights: str | Path | None, network: ModelSpec, on_note: Callable[[str], None]) -> Path | None:
    """The file that `--weights` names."""
    if weights is None or is_file_name(weights):
        return path_of(weights)
    from mnv2search.supernet.weights_choice import exact_weights  # late: it loads torch

    chosen = exact_weights(str(weights), network)
    on_note(chosen.note)
    return chosen.weights.file.path


def _weights_beside(
    spec: ModelSpec | SearchSpace | str | Path,
    network: ModelSpec,
    outputs: Sequence[Path],
    on_note: Callable[[str], None],
) -> Path | None:
    """The weights file beside a spec file, if files are written and both specify the same network."""
    if not isinstance(spec, str | Path) or not outputs or not str(spec).endswith((".yaml", ".yml")):
        return None
    beside = Path(spec).with_suffix(".pt")
    if beside in outputs or not beside.is_file():
        return None
    from mnv2search.model.weights.network_file import read_spec

    try:
        held = read_spec(beside)
    except WeightsError as error:
        on_note(f"{error.message}: the weights are random")
        return None
    if held != network:
        on_note(f"{beside} beside the spec holds another network: the weights are random")
        return None
    on_note(f"weights: {beside}, found beside the spec")
    return beside


def _compiled(spec: ModelSpec, weights: Path | None, files: _Files, *, with_fvcore: bool) -> Compiled:
    from mnv2search.data.preprocessing import Preprocessing
    from mnv2search.export import check_export, export  # late, here and below: they load torch
    from mnv2search.model.weights.network_file import learned_beside

    outputs, seed = files.outputs, files.seed
    for path in outputs:
        check_export(spec, path, precision=files.precision)
    laid_out = plan(spec)
    _check_memory(laid_out, is_written=bool(outputs), is_built=with_fvcore)
    learned = learned_beside(weights)
    assumed = _assumed(learned, files.normalization)
    evaluate_all = None if files.data is None else _evaluator(spec, weights, files.data, assumed, outputs)
    numbers, unreadable = _precision(spec, Preprocessing.of(laid_out, assumed), files, weights)
    counted = _fvcore_count(laid_out, seed) if with_fvcore else None
    if weights is not None and not outputs:
        _check_weights(laid_out, weights, seed)
    exports = [
        export(spec, path, weights=weights, seed=seed, force=files.force, precision=numbers) for path in outputs
    ]
    return Compiled(
        plan=laid_out,
        cost=cost_of(laid_out),
        fvcore_madds=counted,
        exports=tuple(exports),
        preprocessing=Preprocessing.of(laid_out, learned),
        weights=weights,
        unreadable=unreadable,
        judged=() if evaluate_all is None else evaluate_all(),
    )


def _check_memory(laid_out: Plan, *, is_written: bool, is_built: bool) -> None:
    """Refuse a network that does not fit in memory.

    Writing files takes three copies of the weights (network, arrays, file) and two images.
    """
    from mnv2search.model.memory import check_memory

    if is_written:
        check_memory(laid_out, copies=3, images=2)
    elif is_built:
        check_memory(laid_out, images=1)


def _fvcore_count(laid_out: Plan, seed: int) -> int:
    """Count multiply-adds with fvcore, and check that the plan has as many."""
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


def _assumed(learned: Learned | None, normalization: str | None) -> Learned:
    """The preprocessing of images for calibration and evaluation; without metadata of weights, the default one.

    Raises:
        OptionError: the requested normalization is unknown, or not that of the training.
    """
    from mnv2search.data.transforms import CROP
    from mnv2search.model.weights.network_file import Learned
    from mnv2search.recipe import NORMALIZATIONS

    if normalization not in (None, *NORMALIZATIONS):
        raise OptionError(f"normalization is {normalization!r}", hint=f"use one of {', '.join(NORMALIZATIONS)}")
    if learned is None:
        return Learned(classes=(), normalization=normalization or "imagenet", crop=CROP)
    if normalization not in (None, learned.normalization):
        raise OptionError(
            f"the requested normalization is {normalization}, but the weights were trained with "
            f"{learned.normalization}",
            hint="leave --normalization out",
        )
    return replace(learned, crop=learned.crop or CROP)


def _precision(
    spec: ModelSpec, preprocessing: Preprocessing, files: _Files, weights: Path | None
) -> tuple[Precision | None, tuple[Path, ...]]:
    kind, source = files.precision, files.calibration or files.data
    if kind == "fp32":
        return None, ()
    from mnv2search.export.precision import Precision

    if source is None or kind != "int8":
        return Precision(kind=kind), ()
    found = _calibration(spec, source, preprocessing, weights)
    return Precision(kind=kind, images=found.images), found.broken


def _calibration(spec: ModelSpec, source: Path, preprocessing: Preprocessing, weights: Path | None) -> Calibration:
    """Images preprocessed as for evaluation: the training images of a dataset, or every image of another folder."""
    from mnv2search.errors import DataError
    from mnv2search.export.calibration import calibration_images
    from mnv2search.tasks.task import task_of
    from mnv2search.workflows.training.origin import seed_of

    files: list[Path] = []
    if isinstance(spec.head, Classifier | SsdLite | DeepLab):
        try:
            seed = None if weights is None else seed_of(weights)
            files = [example.path for example in task_of(spec).read(source, seed=seed or 0).train]
        except DataError:
            if not source.is_dir():
                raise
    return calibration_images(source, files=files, preprocessing=preprocessing)


def _check_files(files: _Files) -> None:
    """Refuse options that contradict each other and files that cannot be written, before torch is loaded."""
    from mnv2search.export import check_suffix

    outputs, precision, calibration = files.outputs, files.precision, files.calibration
    if not outputs and (precision != "fp32" or calibration is not None):
        raise OptionError(
            "precision and calibration apply only to written files, and none is requested", hint="add -o FILE"
        )
    if calibration is not None and precision != "int8":
        raise OptionError(f"{precision} needs no images to calibrate with", hint="add --precision int8")
    for path in outputs:
        check_suffix(path)
        check_output(path, force=files.force)
    if len(set(outputs)) < len(outputs):
        raise OptionError("the same output file is given twice", hint="give each -o another name")


def _evaluator(
    spec: ModelSpec, weights: Path | None, data: Path, assumed: Learned, outputs: Sequence[Path]
) -> Callable[[], Judged]:
    """Return a function that evaluates a network and its written files by the metric of its task.

    The network and the data are checked here, before any file is written.
    """
    if weights is None:
        raise OptionError("the network has random weights: there is nothing to evaluate", hint="give --weights")
    if spec.head is None:
        raise OptionError(f"{spec.name} has no head: there is nothing to evaluate", hint="give its spec a head")
    from mnv2search.export import loaded
    from mnv2search.export.check import network
    from mnv2search.recipe import Recipe
    from mnv2search.tasks.task import task_of
    from mnv2search.workflows.training.origin import seed_of

    task = task_of(spec)
    dataset = task.read(data, seed=seed_of(weights) or 0)  # test images of the training, if they were drawn
    if spec.head.classes != len(dataset.classes):
        raise OptionError(
            f"{spec.name} has {spec.head.classes} classes, and {data} has {len(dataset.classes)}",
            hint="give the images that it was trained on",
        )
    learned = replace(assumed, classes=dataset.classes)

    def evaluated() -> Judged:
        test = task.prepare(dataset, spec, Recipe(), splits=("test",)).examples["test"]
        model = network(spec, weights=weights, seed=0)
        runs = [(str(path), run) for path in outputs if (run := loaded(path)) is not None]
        return tuple(
            (name, task.evaluate(model, test, learned, run=run)) for name, run in (("the network", None), *runs)
        )

    return evaluated
