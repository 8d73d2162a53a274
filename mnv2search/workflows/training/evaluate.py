"""Evaluate trained weights on a split of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Sized
from pathlib import Path

from mnv2search.atomic import write_text
from mnv2search.data.dataset import SPLITS, Split
from mnv2search.data.loaded_scenes import VOID
from mnv2search.data.readers.masks import numbered
from mnv2search.errors import OptionError, UnknownNameError
from mnv2search.model.weights.network_file import Learned, read_network
from mnv2search.model.weights.places import OURS
from mnv2search.recipe import Recipe
from mnv2search.report.evaluation import evaluation_lines
from mnv2search.report.html.page import Lines, page
from mnv2search.results.training import EvaluationReport
from mnv2search.tasks.task import AnyTask, Data, Task, task_of
from mnv2search.training.distributed import joined
from mnv2search.workflows.options import path_of
from mnv2search.workflows.training.images import evaluation_parts, worst_images
from mnv2search.workflows.training.origin import learned_of, seed_of


def evaluate(
    model: str | Path,
    *,
    data: str | Path,
    split: Split = "test",
    seed: int | None = None,
    void: int = VOID,
    normalization: str | None = None,
    accelerator: str = "auto",
    output: str | Path | None = None,
    force: bool = False,
    on_decoded: Callable[[int], None] = lambda _: None,
) -> EvaluationReport:
    """The metrics of trained weights on a split of a dataset, as `mnv2search evaluate` prints them.

    Args:
        model: a `.pt` or `.pt2` file of ours.
        data: images; see `mnv2search data --help`.
        split: ``train``, ``val`` or ``test``.
        seed: seed of random splits; by default that of the training beside the weights, or 0.
        void: mask value to ignore.
        normalization: normalization of the images; by default as in training.
        accelerator: ``auto``, ``cpu`` or ``cuda``.
        output: an HTML file to write the report to.
        force: replace the file if it exists.
        on_decoded: called with the number of decoded images.

    Raises:
        WeightsError: the network cannot be read.
        DataError: the data cannot be evaluated on.
        OptionError: the data has other classes than the network, or the file of the report exists.
    """
    model, written = Path(model), path_of(output)
    if split not in SPLITS:
        raise UnknownNameError("split", split, SPLITS)
    _check_files(model, written, force=force)
    network = read_network(model)
    task, learned = task_of(network.spec), learned_of(model, network)
    dataset = task.read(Path(data), seed=(seed_of(model) or 0) if seed is None else seed, void=void)
    learned = _checked(learned, dataset, normalization)
    parts = task.prepare(dataset, network.spec, Recipe(), splits=_needed(split, task), on_progress=on_decoded)
    examples = parts.examples[split]
    with joined(accelerator) as team:
        metrics = task.evaluate(network.to(team.device), examples, learned, device=team.device)
    metrics = task.compared(metrics, parts.examples.get("train", examples), examples, learned.classes)
    report = EvaluationReport(
        weights=model,
        spec=network.spec,
        task=task.name,
        data=dataset,
        split=split,
        metrics=metrics,
        unreadable=parts.unreadable,
        worst=worst_images(metrics, dataset, split, parts.unreadable),
    )
    if written is not None:
        _write_page(report, examples, written)
    return report


def _check_files(model: Path, written: Path | None, *, force: bool) -> None:
    if model.suffix not in OURS:
        raise OptionError(
            f"{model} is neither a .pt nor a .pt2 file of mnv2search",
            hint="exported files are evaluated when they are written: mnv2search compile best.pt -o FILE --data DATA",
        )
    if written is not None and written.exists() and not force:
        raise OptionError(f"{written} exists", hint="choose another name, or overwrite it with --force")


def _needed(split: Split, task: AnyTask) -> tuple[Split, ...]:
    """The split, and the training images if a trivial answer is derived from them."""
    return (split,) if type(task).trivial is Task.trivial else tuple(dict.fromkeys((split, "train")))


def _write_page(report: EvaluationReport, examples: Sized, path: Path) -> None:
    title = f"{report.weights.name} on {report.split} of {report.data.root.name}"
    lines = Lines(title="Results", lines=tuple(evaluation_lines(report)))
    parts = evaluation_parts({report.split: report.metrics}, report.data.classes, report.worst, examples)
    write_text(path, page(title, [lines, *parts]))


def _checked(learned: Learned, data: Data, normalization: str | None) -> Learned:
    """The names of the classes, which are those of the data, and the normalisation."""
    if len(learned.classes) != len(data.classes):
        raise OptionError(
            f"the network has {len(learned.classes)} classes, and {data.root} has {len(data.classes)}",
            hint="give images of the classes that it was trained on",
        )
    is_named = learned.classes != numbered(len(data.classes))
    if is_named and learned.classes != data.classes:
        one, other = next(pair for pair in zip(learned.classes, data.classes, strict=True) if pair[0] != pair[1])
        raise OptionError(
            f"the network has a class {one!r} where {data.root} has {other!r}",
            hint="give images of the classes that it was trained on, in folders of the same names",
        )
    return Learned(classes=data.classes, normalization=normalization or learned.normalization)
