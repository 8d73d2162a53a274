"""What a kind of file cannot hold, said before anything is written."""

from __future__ import annotations

from mnv2search.errors import OptionError
from mnv2search.spec.model_spec import DeepLab, ModelSpec, SsdLite


def refuse_choice(spec: ModelSpec, what: str) -> None:
    """Refuse a network that chooses among its answers: by non-maximum suppression, or the class of each pixel.

    `what` names the kind of file, such as ``ncnn``.

    Raises:
        OptionError: the head's output is ``detections`` or ``classes``.
    """
    head = spec.head
    if isinstance(head, SsdLite) and head.output == "detections":
        raise OptionError(
            f"{what} cannot hold the non-maximum suppression of {spec.name}",
            hint="ask for boxes (--head-output boxes) and suppress outside of it; .onnx and .tflite hold it",
        )
    if isinstance(head, DeepLab) and head.output == "classes":
        raise OptionError(
            f"{what} cannot choose the class of each pixel of {spec.name}",
            hint="ask for resized logits (--head-output resized) and take the highest outside of it; .onnx and "
            ".tflite hold the choice",
        )
