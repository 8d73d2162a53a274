"""What a source of images holds, before it is decided which of them are for what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

__all__ = ["NAMES", "SPLITS", "Example", "Listing", "Split", "class_name"]

Split: TypeAlias = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
# Longest name of a class; longer names are cut.
LONGEST_NAME = 255
# How parts are called.
NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True, slots=True)
class Example:
    """An image and the index of its class."""

    path: Path
    label: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The images of a source.

    Attributes:
        classes: their names, in the order of the labels.
        parts: the images of each part that the source has; one without parts has `train` alone.
        others: files that are no images.
        left_out: what else is not used, each with its reason.
    """

    classes: tuple[str, ...]
    parts: Mapping[Split, tuple[Example, ...]]
    others: int = 0
    left_out: tuple[str, ...] = ()


def class_name(value: object) -> str:
    r"""The name of a class as valid UTF-8 text, even if the file or folder name is not.

    >>> class_name(7), class_name("gr\xfcn"), class_name("\udcff")
    ('7', 'grün', '\\udcff')
    """
    return str(value)[:LONGEST_NAME].encode("utf-8", "backslashreplace").decode("utf-8")
