"""Where only squares are taken."""

from __future__ import annotations

from mnv2search.errors import OptionError
from mnv2search.spec.model_spec import ModelSpec

__all__ = ["square_side"]


def square_side(spec: ModelSpec) -> int:
    """The side in px of what a network classifies, where images are cut to squares for it.

    Raises:
        OptionError: its height and width differ.
    """
    if isinstance(spec.resolution, int):
        return spec.resolution
    raise OptionError(
        f"{spec.name} takes images of {spec.size} px, but classifiers get their images cut to squares",
        hint="write its resolution as one number; detectors and segmenters take any height and width",
    )
