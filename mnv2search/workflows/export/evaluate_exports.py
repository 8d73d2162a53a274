"""A network and the files that were written of it, evaluated on the same test images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from mnv2search.errors import OptionError
from mnv2search.spec.model_spec import ModelSpec

if TYPE_CHECKING:
    from mnv2search.results.exports import Judged


ExportEvaluator: TypeAlias = "Callable[[Sequence[Path]], Judged]"
"""Evaluates the network and these files."""


def export_evaluator(spec: ModelSpec, weights: Path | None, data: Path, normalization: str) -> ExportEvaluator:
    """A function that evaluates a network and its exported files by the metric of its task.

    Everything is checked first, so that no file is written for an evaluation that cannot be done.

    Raises:
        OptionError: the weights are random, the network has no head, or other classes than the images.
        DataError: the images cannot be read as the network needs them.
        MissingExtraError: a package that computes the metrics is not installed.
    """
    if weights is None:
        raise OptionError("the network has random weights: there is nothing to evaluate", hint="give --weights")
    if spec.head is None:
        raise OptionError(f"{spec.name} has no head: there is nothing to evaluate", hint="give its spec a head")
    from mnv2search.export import loaded  # late: they load torch
    from mnv2search.export.check import network
    from mnv2search.model.weights.network_file import Learned
    from mnv2search.recipe import Recipe
    from mnv2search.tasks.task import task_of

    task = task_of(spec)
    dataset = task.read(data)
    if spec.head.classes != len(dataset.classes):
        raise OptionError(
            f"{spec.name} does not tell the {len(dataset.classes)} classes of {data} apart",
            hint="give the images that it was trained on",
        )
    learned = Learned(classes=dataset.classes, normalization=normalization)

    def judge(outputs: Sequence[Path]) -> Judged:
        test = task.prepare(dataset, spec, Recipe(), splits=("test",)).examples["test"]
        model = network(spec, weights=weights, seed=0)
        files = [(str(path), run) for path in outputs if (run := loaded(path)) is not None]
        return tuple(
            (name, task.evaluate(model, test, learned, run=run)) for name, run in (("the network", None), *files)
        )

    return judge
