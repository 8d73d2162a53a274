"""The space that is searched for an evaluator."""

from __future__ import annotations

from mnv2search.accuracy.types import AccuracyEvaluator, Evaluator
from mnv2search.spec.classes import HEAD_OF_METRIC, space_with_classes
from mnv2search.spec.space import SearchSpace

__all__ = ["space_of_evaluator"]


def space_of_evaluator(space: SearchSpace, evaluator: AccuracyEvaluator) -> SearchSpace:
    """The space with the classes of the evaluator's data, if it has any.

    Raises:
        OptionError: the networks have another head than the data asks for.
    """
    if isinstance(evaluator, Evaluator) and evaluator.task is not None:
        return SearchSpace(template=evaluator.task.fitted(space.template, evaluator.dataset), axes=space.axes)
    info = evaluator.info
    if info.classes is None:
        return space
    return space_with_classes(space, info.classes, head=HEAD_OF_METRIC[info.metric])
