"""Evaluations as lines of JSON in a file: appended so that a kill loses the unfinished line only."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from mnv2search.errors import RecordError, SpecError, WriteError
from mnv2search.results.format import check_format, unreadable
from mnv2search.results.manifest import MANIFEST
from mnv2search.results.record_line import LineReader, Record, line_of
from mnv2search.spec.space import SearchSpace
from mnv2search.untrusted import UnsafeFileError, read_bytes

EVALUATIONS = "evaluations.jsonl"
# A run of 3,000 networks takes 10 MB.
MAX_BYTES = 1 << 30


class RecordWriter:
    """Appends records to a file, each flushed to disk before `write` returns.

    A torn last line, as a kill leaves it, is cut off when the file is opened again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        _cut_torn_line(path)

    def write(self, record: Record) -> None:
        """Append one record.

        Raises:
            RecordError: the disk does not take it; everything before it is kept.
        """
        line = line_of(record)
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            _cut_torn_line(self._path)
            raise WriteError(
                f"{self._path}: cannot be written: {error.strerror}",
                hint="free some space and run the same command again; finished trials are kept",
            ) from error


def read_records(folder: Path | str, *, space: SearchSpace | None = None) -> tuple[Record, ...]:
    """The records of a results folder, in the order of writing; a torn last line is passed over.

    Args:
        folder: of a run.
        space: of the run; if given, picks outside the space are refused, and reading is faster.

    Raises:
        RecordError: there is no such file, or a line is not a record; the message starts with ``file:line``.
    """
    records: list[Record] = []
    for number, _, record in checked_lines(folder, space=space):
        if isinstance(record, str):
            raise RecordError(
                f"{Path(folder) / EVALUATIONS}:{number}: is not a record ({record})",
                hint=f"set the damaged lines aside: `mnv2search verify --repair {shlex.quote(str(folder))}`",
            )
        records.append(record)
    return tuple(records)


def checked_lines(
    folder: Path | str, *, space: SearchSpace | None = None
) -> Iterator[tuple[int, bytes, Record | str]]:
    """The number and content of each complete line of a folder's records, with its record or the error in it.

    Raises:
        RecordError: there is no such file, or another version of this package wrote it.
    """
    path = Path(folder) / EVALUATIONS
    try:
        content = read_bytes(path, max_bytes=MAX_BYTES)
    except (OSError, UnsafeFileError) as error:
        if isinstance(error, FileNotFoundError) and (Path(folder) / MANIFEST).exists():
            raise RecordError(
                f"{folder}: no network is finished yet", hint="resume the run: `mnv2search run --resume NAME`"
            ) from error
        raise unreadable(path, error) from error
    reader = LineReader(space)
    lines = content.split(b"\n")
    for number, line in enumerate(
        lines[:-1], start=1
    ):  # the rest after the last newline is empty, or cut off by a kill
        try:
            yield number, line, reader.record(line)
        except ValueError as error:
            check_format(f"{path}:{number}", line)
            what = error.diagnostics[0].message if isinstance(error, SpecError) else str(error)
            yield number, line, what


def _cut_torn_line(path: Path) -> None:
    if not path.exists():
        return
    with path.open("rb+") as file:
        data = file.read()
        if data and not data.endswith(b"\n"):
            file.truncate(data.rfind(b"\n") + 1)
