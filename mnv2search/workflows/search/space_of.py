"""The space that is searched for an evaluator."""

from __future__ import annotations

from mnv2search.accuracy.types import AccuracyEvaluator
from mnv2search.spec.classes import HEAD_OF_METRIC, space_with_classes
from mnv2search.spec.space import SearchSpace

__all__ = ["space_of_evaluator"]


def space_of_evaluator(space: SearchSpace, evaluator: AccuracyEvaluator) -> SearchSpace:
    """The space whose networks tell the classes apart that the evaluator knows; the space itself where it knows none.

    Raises:
        OptionError: they have another head than the evaluator's metric is of.
    """
    info = evaluator.info
    if info.classes is None:
        return space
    return space_with_classes(space, info.classes, head=HEAD_OF_METRIC[info.metric])
