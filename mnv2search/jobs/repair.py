"""Records of a run without their damaged lines."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from mnv2search.errors import WriteError
from mnv2search.jobs.recall import space_of_run
from mnv2search.jobs.run_folder import STUDY_FILE, locked
from mnv2search.records import (
    EVALUATIONS,
    Record,
    checked_lines,
    read_manifest,
    write_manifest,
    write_text,
)

__all__ = ["DAMAGED", "DamagedLine", "Repair", "repair"]

# Gets the lines that are dropped.
DAMAGED = f"{EVALUATIONS}.damaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedLine:
    """A line that is not a record: its number from 1, and why."""

    number: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What a repair did.

    Attributes:
        kept: lines that are records.
        dropped: lines that were moved to the file `DAMAGED` of the folder.
    """

    kept: int
    dropped: tuple[DamagedLine, ...]


def repair(folder: Path) -> Repair:
    """Move the damaged lines of a run's records to a file of their own, so that the run can be resumed.

    The study is removed, since it is made again from the records, and the run counts as interrupted: a resume
    measures its front anew. A kill at any point leaves a folder that can be repaired again.

    Raises:
        RecordError: the folder is not that of a run, its manifest is damaged, or a process uses it.
        WriteError: the disk does not take it.
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
