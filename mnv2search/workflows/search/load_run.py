"""The result of a run from its records alone."""

from __future__ import annotations

import fcntl
import os
from dataclasses import replace
from pathlib import Path

from mnv2search.errors import RecordError
from mnv2search.locking import LOCK
from mnv2search.results.manifest import MANIFEST, STARTING, Manifest, read_manifest
from mnv2search.results.records import EVALUATIONS, Record, read_records
from mnv2search.spec.space import SearchSpace
from mnv2search.spec.yaml.codec import loads
from mnv2search.study.baseline import baseline_grid
from mnv2search.study.results import result_of
from mnv2search.study.types import Evaluated, SearchResult


def recall(folder: Path | str) -> tuple[Manifest, SearchResult]:
    """The manifest and the result of a run; its front is that of the last side-by-side measurement.

    Before the first such measurement the front is empty, however many networks were measured. The status of the
    manifest is the current one: `running` if a process holds the folder, `interrupted` if that process ended before
    the run was finished.

    Raises:
        RecordError: the folder is not that of a run.
        SpecError: the manifest has a broken space.
    """
    manifest = read_manifest(folder)
    if manifest.status == STARTING:  # its records, if any, are those of the run that it replaces
        raise RecordError(
            f"{folder}: no network is finished yet", hint="resume the run: `mnv2search run --resume NAME`"
        )
    if is_running(Path(folder)):
        manifest = replace(manifest, status="running")
    elif manifest.status == "running":
        manifest = replace(manifest, status="interrupted")
    space = space_of_run(folder, manifest)
    items = [evaluated_of(record) for record in read_records(folder, space=space)]
    return manifest, result_of(items, grid=len(baseline_grid(space)), elapsed_s=manifest.elapsed_s)


def recorded(folder: Path, space: SearchSpace) -> tuple[Evaluated, ...]:
    """The evaluations of a run so far; empty if it has not begun.

    Raises:
        RecordError: the records cannot be read.
    """
    if not (folder / EVALUATIONS).exists():
        return ()
    return tuple(evaluated_of(record) for record in read_records(folder, space=space))


def space_of_run(folder: Path | str, manifest: Manifest) -> SearchSpace:
    """The search space of a run.

    Raises:
        RecordError: the space in the manifest leaves nothing to choose.
        SpecError: the space has problems.
    """
    path = Path(folder) / MANIFEST
    space = loads(manifest.space, file=f"{path} (space)")
    if not isinstance(space, SearchSpace):
        raise RecordError(f"{path}: its space is a single network", hint="restore the file from a backup")
    return space


def is_running(folder: Path) -> bool:
    """Whether a process holds the folder of a run."""
    try:
        lock = os.open(folder / LOCK, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


def evaluated_of(record: Record) -> Evaluated:
    """A record as the search knows it."""
    return Evaluated(trial=record.trial, stage=record.stage, pick=record.pick, evaluation=record.evaluation)
