"""Outputs of a network: their form, their shape, and the post-processing left to the caller."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

from mnv2search.errors import OptionError
from mnv2search.spec.heads.anchors import anchors_per_map
from mnv2search.spec.heads.deeplab import DeepLab, SegmenterOutput
from mnv2search.spec.heads.ssdlite import DetectorOutput, SsdLite
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import Plan
from mnv2search.spec.rules import changed

DETECTOR_OUTPUTS: tuple[str, ...] = get_args(DetectorOutput)
SEGMENTER_OUTPUTS: tuple[str, ...] = get_args(SegmenterOutput)
OUTPUTS: tuple[str, ...] = (*DETECTOR_OUTPUTS, *SEGMENTER_OUTPUTS)
"""Every value of `head.output`, those of detectors first."""

LEFT = {
    "raw": "encoded boxes and logits, the background's first: decoding and non-maximum suppression are left to you",
    "boxes": "x0, y0, x1, y1 relative to the image's sides, then a score for each class: non-maximum suppression is "
    "left to you",
    "detections": "x0, y0, x1, y1 relative to the image's sides, score and class index, best first, after "
    "non-maximum suppression; unused rows are zero",
    "logits": "a logit of each class at the head's size: enlarging and choosing the highest are left to you",
    "resized": "a logit of each class for every pixel: choosing the highest is left to you",
    "classes": "the class index of every pixel",
}


def with_output(spec: ModelSpec, output: str) -> ModelSpec:
    """The network with another `head.output`; its weights stay valid.

    >>> from mnv2search.spec.catalog import entry
    >>> with_output(entry("ssdlite_mobilenet_v2").spec, "detections").head.output
    'detections'

    Raises:
        OptionError: the head has no such output.
    """
    head = spec.head
    if not isinstance(head, SsdLite | DeepLab):
        raise OptionError(
            f"the requested output of the head is {output!r}, but {spec.name} neither detects nor segments",
            hint="leave it out, or give a network with head: ssdlite or head: deeplab",
        )
    does, known = ("detects", DETECTOR_OUTPUTS) if isinstance(head, SsdLite) else ("segments", SEGMENTER_OUTPUTS)
    if output not in known:
        what = f"the requested output of the head is {output!r}, but {spec.name} {does}"
        raise OptionError(what, hint=f"use {', '.join(known)}")
    return replace(spec, head=changed(head, {"output": output}))


def output_of(spec: ModelSpec) -> str | None:
    """The `head.output` of a detector or a segmenter; None for other networks."""
    return spec.head.output if isinstance(spec.head, SsdLite | DeepLab) else None


def answer_shape(plan: Plan) -> tuple[int, ...]:
    """The shape of the network's output for one image.

    >>> from mnv2search.spec.catalog import entry
    >>> from mnv2search.spec.plan import plan
    >>> answer_shape(plan(entry("ssdlite_mobilenet_v2").spec))
    (2034, 84)
    """
    head, last = plan.spec.head, plan.units[-1]
    if isinstance(head, SsdLite):
        if head.output == "detections":
            return head.detections, 6
        return sum(anchors_per_map(plan)), 4 + head.classes + (head.output == "raw")
    if is_of_classes(plan):
        return tuple(last.size_out)
    return (last.c_out,) if last.kind == "classifier" else (last.c_out, *last.size_out)


def is_of_classes(plan: Plan) -> bool:
    """Whether the output consists of class indices, which are integers."""
    return isinstance(plan.spec.head, DeepLab) and plan.spec.head.output == "classes"


def answer_text(plan: Plan) -> str:
    """One line that describes the output of a detector or a segmenter; empty for other networks.

    >>> from mnv2search.spec.catalog import entry
    >>> from mnv2search.spec.plan import plan
    >>> answer_text(plan(with_output(entry("deeplabv3_mobilenet_v2").spec, "classes")))
    'output classes, 513 x 513 for an image: the class index of every pixel'
    """
    output = output_of(plan.spec)
    return "" if output is None else output_text(output, answer_shape(plan), LEFT[output])


def output_text(output: str, shape: tuple[int, ...], meaning: str) -> str:
    """One line about an output."""
    return f"output {output}, {' x '.join(map(str, shape))} for an image: {meaning}"
