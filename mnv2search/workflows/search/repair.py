"""Repair of a run's records: damaged lines are moved to a separate file."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from mnv2search.atomic import write_text
from mnv2search.errors import WriteError
from mnv2search.results.manifest import read_manifest, write_manifest
from mnv2search.results.records import EVALUATIONS, Record, checked_lines
from mnv2search.workflows.search.folder import STUDY_FILE, locked
from mnv2search.workflows.search.load_run import space_of_run

# Name of the file that damaged lines are moved to.
DAMAGED = f"{EVALUATIONS}.damaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedLine:
    """A line that is not a record: its number, counted from 1, and the reason."""

    number: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """The result of a repair.

    Attributes:
        kept: number of lines that are records.
        dropped: lines that were moved to `DAMAGED` in the folder.
    """

    kept: int
    dropped: tuple[DamagedLine, ...]


def repair(folder: Path) -> Repair:
    """Move the damaged lines of a run's records to a separate file, so that the run can be resumed.

    The study is removed, because it will be rebuilt from the records, and the run is marked as interrupted, so that a
    resumed run measures its front again. If the repair is killed, it can be repeated.

    Raises:
        RecordError: the folder is not that of a run, its manifest is damaged, or a process uses it.
        WriteError: the files cannot be written.
    """
    manifest = read_manifest(folder)
    space = space_of_run(folder, manifest)
    with locked(folder):
        lines = list(checked_lines(folder, space=space))
        kept = [content for _, content, found in lines if isinstance(found, Record)]
        damaged = [(number, content, found) for number, content, found in lines if isinstance(found, str)]
        if damaged:
            _append(folder / DAMAGED, b"".join(content + b"\n" for _, content, _ in damaged))
            for name in (STUDY_FILE, f"{STUDY_FILE}-journal"):
                (folder / name).unlink(missing_ok=True)
            write_manifest(folder, replace(manifest, status="interrupted"))
            write_text(folder / EVALUATIONS, "".join(f"{content.decode()}\n" for content in kept))
    dropped = tuple(DamagedLine(number=number, why=why) for number, _, why in damaged)
    return Repair(kept=len(kept), dropped=dropped)


def _append(path: Path, data: bytes) -> None:
    try:
        with path.open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise WriteError(f"{path}: cannot be written: {error.strerror}", hint="free some space") from error
