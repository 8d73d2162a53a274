"""Settings of a training that change its images at random."""

from __future__ import annotations

from dataclasses import Field
from typing import Any, ClassVar, Protocol

__all__ = ["Augmentation"]


class Augmentation(Protocol):
    """A frozen dataclass with the settings of a training that change its images; every recipe is one."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def normalization(self) -> str:
        """Name of one of `mnv2search.model.normalization.NORMALIZATIONS`."""
        ...

    @property
    def least_area(self) -> float:
        """Least share of an image that a random crop keeps; 1 does not crop."""
        ...

    @property
    def mirror(self) -> bool:
        """Flip half of the images left to right."""
        ...

    @property
    def shift_px(self) -> int:
        """Pad by this and crop at random instead of cropping a random area; 0 does not."""
        ...
