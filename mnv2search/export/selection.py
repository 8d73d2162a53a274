"""What a file that chooses among its own answers is held against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from mnv2search.export.check import Run, accept, difference
from mnv2search.export.precision import Precision
from mnv2search.model.build import MobileNet, build
from mnv2search.model.ssdlite import SsdLiteHead
from mnv2search.spec.model_spec import DeepLab, ModelSpec, SsdLite
from mnv2search.spec.plan import Plan


def choice_of(
    model: MobileNet, to: Path, *, seed: int, precision: Precision, run: Callable[[Plan], Run]
) -> Run | None:
    """What a file with non-maximum suppression, or of classes, is to compute; None where it gives out numbers.

    Which of two boxes or classes with nearly the same score is chosen hangs on the last bit. So the boxes, or the
    logits of every pixel, that the same format computes are compared with the network's, and the choice with that of
    the network from these.

    `run` gives what a file of the same format computes for a network that has the weights of `model`.

    Raises:
        ExportError: the boxes or logits differ by more than the precision explains.
    """
    twin_spec = _without_choice(model.spec)
    if twin_spec is None:
        return None
    twin = build(twin_spec, seed=0)
    twin.load_state_dict(model.state_dict())
    numbers, head = run(twin.plan), model.head
    accept(difference(twin.eval(), numbers, seed=seed, precision=precision), precision, to)
    if isinstance(head, SsdLiteHead):
        selected = head.detections
        return lambda images: selected(numbers(images))
    return lambda images: _highest(numbers(images))


def _without_choice(spec: ModelSpec) -> ModelSpec | None:
    head = spec.head
    if isinstance(head, SsdLite) and head.output == "detections":
        return replace(spec, head=replace(head, output="boxes"))
    if isinstance(head, DeepLab) and head.output == "classes":
        return replace(spec, head=replace(head, output="resized"))
    return None


def _highest(logits: Tensor) -> Tensor:
    return logits.argmax(1)
