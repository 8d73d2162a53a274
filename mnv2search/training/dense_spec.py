"""What a spec is trained for, and the spec with the classes of the data."""

from __future__ import annotations

from dataclasses import replace

from mnv2search.errors import OptionError
from mnv2search.spec.model_spec import DeepLab, ModelSpec, SsdLite
from mnv2search.training.scenes import Task

__all__ = ["is_dense", "task_of", "with_classes"]


def is_dense(spec: ModelSpec) -> bool:
    """Whether a network detects or segments."""
    return isinstance(spec.head, SsdLite | DeepLab)


def task_of(spec: ModelSpec) -> Task:
    """What a dense network is for.

    Raises:
        OptionError: it classifies, or has no head.
    """
    if isinstance(spec.head, SsdLite):
        return "detection"
    if isinstance(spec.head, DeepLab):
        return "segmentation"
    raise OptionError(f"{spec.name} neither detects nor segments", hint="give it head: ssdlite or head: deeplab")


def with_classes(spec: ModelSpec, classes: int) -> ModelSpec:
    """The network with as many classes as the data has."""
    head = spec.head
    if not isinstance(head, SsdLite | DeepLab) or head.classes == classes:
        return spec
    return replace(spec, head=replace(head, classes=classes))
