"""The version of the files of a run, their limits, and the errors of reading them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from msgspec import Meta, Struct

from mnv2search.cost import MAX_COUNT
from mnv2search.errors import RecordError
from mnv2search.untrusted import UnsafeFileError, json_as

FORMAT: Final = 1
# Networks are named after their trial, and names have a maximum length.
MAX_TRIAL = 99_999_999

Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
Seconds = Annotated[float, Meta(ge=0)]


class _Format(Struct):
    format: Count


def check_format(place: str, content: bytes) -> None:
    """Refuse a file that another version of this package wrote; check nothing else."""
    try:
        written = json_as(_Format, content).format
    except UnsafeFileError:
        return
    if written != FORMAT:
        raise RecordError(
            f"{place}: has format {written}; this version reads format {FORMAT}",
            hint="use the version of mnv2search that wrote it",
        )


def unreadable(path: Path, error: OSError | UnsafeFileError) -> RecordError:
    """The error for a file that cannot be read."""
    why = error.strerror if isinstance(error, OSError) else error
    return RecordError(f"{path}: cannot be read: {why}", hint="give the folder of a run, such as results/NAME")
