"""Networks and spaces with the number of classes of a data set."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

from mnv2search.errors import OptionError
from mnv2search.spec.model_spec import Classifier, DeepLab, ModelSpec, SsdLite, square_side
from mnv2search.spec.space import SearchSpace

Telling: TypeAlias = type[Classifier] | type[SsdLite] | type[DeepLab]
"""Heads that predict classes."""

HEAD_OF_METRIC: dict[str, Telling] = {"top1": Classifier, "map": SsdLite, "miou": DeepLab}
NAMES: dict[Telling, str] = {Classifier: "classifier", SsdLite: "detector's head", DeepLab: "segmenter's head"}


def with_classes(spec: ModelSpec, classes: int, *, head: Telling = Classifier) -> ModelSpec:
    """The network with another number of classes.

    Raises:
        OptionError: the network has another head, or is a classifier whose images are not square.
    """
    if head is Classifier:
        square_side(spec)
    if not isinstance(spec.head, head):
        raise OptionError(f"{spec.name} has no {NAMES[head]}", hint="give its spec a head for the data's task")
    return spec if spec.head.classes == classes else replace(spec, head=replace(spec.head, classes=classes))


def space_with_classes(space: SearchSpace, classes: int, *, head: Telling = Classifier) -> SearchSpace:
    """The space with another number of classes in all its networks.

    Raises:
        OptionError: the networks have another head.
    """
    return SearchSpace(template=with_classes(space.template, classes, head=head), axes=space.axes)
