"""What of a detector's or a segmenter's work is inside its latency, in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mnv2search.spec.model_spec import DeepLab, ModelSpec, SsdLite

DETECTED = {
    "raw": "neither decoding of boxes nor their suppression",
    "boxes": "decoding of boxes, not their suppression",
    "detections": "decoding of boxes and their suppression",
}
SEGMENTED = {
    "logits": "maps as the network computes them, not enlarged to the image's side",
    "resized": "enlarging of maps to the image's side",
    "classes": "enlarging of maps to the image's side and each pixel's class",
}


def output_lines(specs: Iterable[ModelSpec]) -> Iterator[str]:
    """A line for each way in which networks answer; none for classifiers.

    >>> from mnv2search.spec.catalog import entry
    >>> list(output_lines([entry("ssdlite_mobilenet_v2").spec]))
    ['latency includes decoding of boxes, not their suppression (head.output: boxes)']
    """
    heads = {spec.head for spec in specs}
    outputs = sorted(
        {(head.output, isinstance(head, SsdLite)) for head in heads if isinstance(head, SsdLite | DeepLab)}
    )
    for output, detects in outputs:
        yield f"latency includes {(DETECTED if detects else SEGMENTED)[output]} (head.output: {output})"
