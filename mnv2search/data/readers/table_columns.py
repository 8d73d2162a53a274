"""Selection of the columns of a table with the images and their classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mnv2search.data.image_files import MAX_FILE_BYTES
from mnv2search.data.readers.folders import is_within
from mnv2search.errors import DataError
from mnv2search.untrusted import read_bytes

if TYPE_CHECKING:
    import datasets


IMAGE_NAMES = ("image", "img", "images", "picture")
LABEL_NAMES = ("label", "labels", "class", "target", "category")
# Types of `datasets.Value` for classes.
CLASS_TYPES = (
    "string",
    "large_string",
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
)
UNKNOWN_LABEL = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The names of the image and class columns, and the names of the classes if the table has them."""

    image: str
    label: str
    names: tuple[str, ...] | None

    def rows(self, dataset: datasets.Dataset, *, folder: Path | None) -> Iterator[tuple[bytes, object | None]]:
        """Each encoded image (empty if missing) with its class or None; rows may name files in the table's folder."""
        import datasets

        chosen = dataset.select_columns([self.image, self.label])
        if isinstance(dataset.features[self.image], datasets.Image):
            chosen = chosen.cast_column(self.image, datasets.Image(decode=False))
        for row in chosen:
            label = row[self.label]
            known = label is not None and not (self.names is not None and label == UNKNOWN_LABEL)
            yield _encoded(row[self.image], folder), label if known else None

    def classes(self, labels: set[object]) -> list[tuple[object, str]]:
        """Every class with an image, in order, with its name."""
        if self.names is not None:
            return [(number, name) for number, name in enumerate(self.names) if number in labels]
        return [(label, str(label)) for label in sorted(labels)]  # type: ignore[type-var]


def columns_of(features: Mapping[str, object] | None, *, image: str, label: str, source: str) -> Columns:
    """The image and class columns, by name if given, or else by the types of `datasets` and usual names.

    Raises:
        DataError: there is no suitable column, or there are several.
    """
    import datasets

    def named(is_meant: Callable[[object], bool]) -> list[str]:
        return [name for name, kind in (features or {}).items() if is_meant(kind)]

    images = named(lambda kind: isinstance(kind, datasets.Image)) or named(_holds_bytes)
    numbered = named(lambda kind: isinstance(kind, datasets.ClassLabel))
    labels = numbered + named(lambda kind: isinstance(kind, datasets.Value) and kind.dtype in CLASS_TYPES)
    image = _chosen("image", image, images, IMAGE_NAMES, source)
    alone = numbered if len(numbered) == 1 and not label else labels
    label = _chosen("label", label, [name for name in alone if name != image], LABEL_NAMES, source)
    kind = (features or {})[label]
    names = tuple(kind.names) if isinstance(kind, datasets.ClassLabel) else None
    return Columns(image=image, label=label, names=names)


def _chosen(what: str, wanted: str, found: Sequence[str], usual: Sequence[str], source: str) -> str:
    """The requested column, else the only suitable column, else the only one with a usual name."""
    if wanted and wanted not in found:
        raise DataError(
            f"{source} has no column {wanted} that may be the {what}", hint=f"it has {', '.join(found) or 'none'}"
        )
    if wanted or len(found) == 1:
        return wanted or found[0]
    if not found:
        needed = "images (encoded, as datasets.Image or bytes)" if what == "image" else "classes (numbers or names)"
        raise DataError(f"{source} has no column of {needed}", hint="add one, or give a folder of images")
    named = [name for name in found if name.lower() in usual]
    if len(named) != 1:
        raise DataError(
            f"{source} has several columns that may be the {what}: {', '.join(found)}",
            hint=f"choose one: {source}?{what}={found[0]}",
        )
    return named[0]


def _holds_bytes(kind: object) -> bool:
    """Whether a column contains plain bytes, or a struct of bytes and a path, as `datasets` stores images."""
    if isinstance(kind, dict):
        return "bytes" in kind and _holds_bytes(kind["bytes"])
    return getattr(kind, "dtype", None) in ("binary", "large_binary")


def _encoded(value: object, folder: Path | None) -> bytes:
    path = None
    if isinstance(value, Mapping):
        path, value = value.get("path"), value.get("bytes")
    if value is None and isinstance(path, str) and folder is not None and is_within(folder / path, folder):
        return read_bytes(folder / path, max_bytes=MAX_FILE_BYTES)
    return value if isinstance(value, bytes) else b""
