"""Open, lock, clear and repair the folder of a run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from mnv2search.atomic import remove_leftovers, write_error, write_text
from mnv2search.display import Displayed
from mnv2search.errors import Mnv2SearchError, OptionError, RecordError, WriteError
from mnv2search.locking import LOCK, folder_lock, is_held
from mnv2search.results.checks import CONFIRMATION
from mnv2search.results.finetuning import BEFORE, FINETUNE
from mnv2search.results.manifest import MANIFEST, STARTING, Manifest, Status, read_manifest, write_manifest
from mnv2search.results.records import EVALUATIONS, Record, checked_lines
from mnv2search.results.stages.block_times import BLOCK_TIMES
from mnv2search.workflows.search.log import run_folder, space_of_run
from mnv2search.workflows.search.outputs import PAGE, TRAINED

SPACE = "space.yaml"
STUDY_FILE = "study.sqlite3"
STUDY_JOURNAL = f"{STUDY_FILE}-journal"
# Default storage of a run with workers, and all files that belong to it.
OWN_STORAGE = "workers.sqlite3"
STORAGE_FILES = tuple(f"{OWN_STORAGE}{suffix}" for suffix in ("", "-wal", "-shm"))
# Folder of an evaluator's own files, such as the weights of a supernet.
WORK = "work"


def open_run(folder: Path, wanted: Manifest, *, force: bool) -> Manifest:
    """The manifest to continue with: the folder's own if it belongs to the same command, otherwise the wanted one.

    A run exists from the moment when its manifest is renamed into place. Until then, the previous content of the
    folder is untouched. From then on that content belongs to no run and is removed; if the process is killed first,
    the next start removes it. A folder that holds only temporary files counts as empty.

    Raises:
        RecordError: the folder holds a run of another command, or files of the user.
        WriteError: the manifest cannot be written.
    """
    if (folder / MANIFEST).exists():
        remove_leftovers(folder, recursive=True)
    manifest = wanted if force or not (folder / MANIFEST).exists() else _held(folder, wanted)
    if not force and manifest is wanted and any(path.name != LOCK for path in folder.iterdir()):
        raise RecordError(
            f"{folder} holds files, but no run: there is no {MANIFEST}",
            hint="use another --name, or --force to overwrite what a run writes",
        )
    if manifest is wanted or manifest.status == STARTING:
        write_manifest(folder, replace(manifest, status=STARTING))
        _clear(folder)
        manifest = replace(manifest, status="running")
    write_text(folder / SPACE, manifest.space, makes_folder=False)
    return manifest


def _held(folder: Path, wanted: Manifest) -> Manifest:
    held = read_manifest(folder)
    for what, before, now in (
        ("search space", held.space, wanted.space),
        ("device", held.device.fingerprint, wanted.device.fingerprint),
        ("accuracy", held.evaluator, wanted.evaluator),
        ("budget", held.budget, wanted.budget),
        ("seed", held.seed, wanted.seed),
        ("sampler", held.settings.sampler, wanted.settings.sampler),
    ):
        if before != now:
            raise RecordError(
                f"{folder} holds a run with another {what}",
                hint="give this run another --name, or --force to start over",
            )
    status: Status = "interrupted" if held.status == "failed" else held.status
    command = wanted.command or held.command
    return replace(held, settings=wanted.settings, command=command, status=status, failure="")


def _clear(folder: Path) -> None:
    """Remove everything that a run writes except its manifest and its space."""
    plots = ("front.png", TRAINED)
    for name in (
        EVALUATIONS,
        STUDY_FILE,
        STUDY_JOURNAL,
        "front.csv",
        *plots,
        "ship.yaml",
        "ship.pt",
        PAGE,
        *STORAGE_FILES,
    ):
        (folder / name).unlink(missing_ok=True)
    for name in (CONFIRMATION, BLOCK_TIMES):
        (folder / name).unlink(missing_ok=True)
    for path in (*(folder / "front").glob("*.yaml"), *(folder / "front").glob("*.pt")):
        path.unlink()
    for name in (WORK, FINETUNE, BEFORE):
        shutil.rmtree(folder / name, ignore_errors=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Create the folder if it is missing, and lock it for this process.

    A folder created here is removed if the run fails before it has any results, or is refused before it has any
    accuracy: measured latencies are kept in the cache.
    """
    with folder_lock(folder, busy="another run", hint="use another --name or --output-dir") as is_new:
        lock = (folder / LOCK).stat()
        try:
            yield
        except Mnv2SearchError as error:
            is_own = is_new and is_held(folder, lock)
            if is_own and not _holds_anything(folder, but_latencies=isinstance(error, OptionError)):
                _remove(folder)
            raise


@contextmanager
def failures_recorded(folder: Path) -> Iterator[None]:
    """Write an error that ends a run into its manifest, if the folder can still be written to."""
    try:
        yield
    except Mnv2SearchError as error:
        with suppress(RecordError, WriteError):
            write_manifest(folder, replace(read_manifest(folder), status="failed", failure=error.message))
        raise


def _remove(folder: Path) -> None:
    """Remove a run's folder, manifest last, so that a kill leaves either a run or an empty folder."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name not in (MANIFEST, LOCK):
            path.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _holds_anything(folder: Path, *, but_latencies: bool) -> bool:
    """Whether there are files of the evaluator or records; if latencies do not count, records with an accuracy."""
    records, work = folder / EVALUATIONS, folder / WORK
    if any(path.is_file() for path in work.rglob("*")):
        return True
    if not records.exists() or not records.stat().st_size or not but_latencies:
        return records.exists() and records.stat().st_size > 0
    found = (record for _, _, record in checked_lines(folder))
    return any(isinstance(record, str) or record.evaluation.accuracy is not None for record in found)


# Name of the file that damaged lines are moved to.
DAMAGED = f"{EVALUATIONS}.damaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedLine:
    """A line that is not a record: its number, counted from 1, and the reason."""

    number: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Repair(Displayed):
    """The number of lines that are records, and the damaged ones, which were moved to `DAMAGED` in the folder."""

    kept: int
    dropped: tuple[DamagedLine, ...]


def repair_run(folder: str | Path) -> Repair:
    """Move the damaged lines of a run's records to a separate file, so that the run can be resumed.

    Does what `mnv2search verify --repair` does. `folder` is the folder of the run, or its name in `results`.

    The study is removed, because it will be rebuilt from the records, and the run is marked as interrupted, so that a
    resumed run measures its front again. If the repair is killed, it can be repeated.

    Raises:
        RecordError: the folder is not that of a run, its manifest is damaged, or a process uses it.
        WriteError: the files cannot be written.
    """
    folder = run_folder(folder)
    manifest = read_manifest(folder)
    space = space_of_run(folder, manifest)
    with locked(folder):
        lines = list(checked_lines(folder, space=space))
        kept = [content for _, content, found in lines if isinstance(found, Record)]
        damaged = [(number, content, found) for number, content, found in lines if isinstance(found, str)]
        if damaged:
            _append(folder / DAMAGED, b"".join(content + b"\n" for _, content, _ in damaged))
            for name in (STUDY_FILE, STUDY_JOURNAL):
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
        raise write_error(path, error) from error
