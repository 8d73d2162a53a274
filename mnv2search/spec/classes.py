"""Networks and spaces for the classes of some data."""

from __future__ import annotations

from dataclasses import replace

from mnv2search.errors import OptionError
from mnv2search.spec.model_spec import Classifier, ModelSpec
from mnv2search.spec.space import SearchSpace

__all__ = ["space_with_classes", "with_classes"]


def with_classes(spec: ModelSpec, classes: int) -> ModelSpec:
    """The network with a classifier of so many classes.

    Raises:
        OptionError: it has no classifier.
    """
    if not isinstance(spec.head, Classifier):
        raise OptionError(f"{spec.name} has no classifier", hint="give its spec a head with classes")
    return spec if spec.head.classes == classes else replace(spec, head=replace(spec.head, classes=classes))


def space_with_classes(space: SearchSpace, classes: int) -> SearchSpace:
    """The space whose networks have so many classes.

    Raises:
        OptionError: they have no classifier.
    """
    return SearchSpace(template=with_classes(space.template, classes), axes=space.axes)
