"""What a spec is trained for, and its head."""

from __future__ import annotations

from mnv2search.data.scenes import Task
from mnv2search.errors import OptionError
from mnv2search.spec.model_spec import DeepLab, ModelSpec, SsdLite

__all__ = ["HEADS", "is_dense", "task_of"]

HEADS: dict[Task, type[SsdLite] | type[DeepLab]] = {"detection": SsdLite, "segmentation": DeepLab}


def is_dense(spec: ModelSpec) -> bool:
    """Whether a network detects or segments."""
    return isinstance(spec.head, SsdLite | DeepLab)


def task_of(spec: ModelSpec) -> Task:
    """What a dense network is for.

    Raises:
        OptionError: it classifies, or has no head.
    """
    for task, head in HEADS.items():
        if isinstance(spec.head, head):
            return task
    raise OptionError(f"{spec.name} neither detects nor segments", hint="give it head: ssdlite or head: deeplab")
