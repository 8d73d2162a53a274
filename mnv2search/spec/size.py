"""Sizes of images and maps."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

Resolution: TypeAlias = int | tuple[int, int]
"""The form of a size in a spec: the side of a square, or height and width, in px."""


class Size(NamedTuple):
    """Height and width in px.

    >>> str(Size(224, 224)), str(Size(1025, 2049)), Size(1025, 2049).area
    ('224', '1025 x 2049', 2100225)
    """

    height: int
    width: int

    @property
    def area(self) -> int:
        """Pixels."""
        return self.height * self.width

    @property
    def is_square(self) -> bool:
        """Whether height and width are equal."""
        return self.height == self.width

    @property
    def resolution(self) -> Resolution:
        """The size as a spec writes it."""
        return self.height if self.is_square else (self.height, self.width)

    @property
    def word(self) -> str:
        """The size as a word without blanks, such as ``1025x2049``; see `resolution_of`."""
        return str(self).replace(" ", "")

    def strided(self, stride: int) -> Size:
        """The size of a padded map after a stride."""
        return Size(-(-self.height // stride), -(-self.width // stride))

    def __str__(self) -> str:
        return str(self.height) if self.is_square else f"{self.height} x {self.width}"


class Pad(NamedTuple):
    """Rows and columns of zeros around a map."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def is_even(self) -> bool:
        """Whether opposite sides have equal padding."""
        return self.top == self.bottom and self.left == self.right


def size_of(resolution: Resolution) -> Size:
    """The size of a resolution.

    >>> size_of(224)
    Size(height=224, width=224)
    """
    return Size(resolution, resolution) if isinstance(resolution, int) else Size(*resolution)


def resolution_of(text: str) -> Resolution:
    """The resolution that a text spells.

    >>> resolution_of("224"), resolution_of("1025x2049"), resolution_of("224x224")
    (224, (1025, 2049), 224)

    Raises:
        ValueError: the text is neither a number nor two numbers separated by an x.
    """
    height, by, width = text.partition("x")
    return Size(int(height), int(width if by else height)).resolution
