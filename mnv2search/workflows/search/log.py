"""The log of a run: written as the run proceeds, and read to resume or to show it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from mnv2search.errors import RecordError, WriteError
from mnv2search.locking import LOCK, is_held
from mnv2search.results.manifest import MANIFEST, STARTING, Manifest, read_manifest, write_manifest
from mnv2search.results.records import EVALUATIONS, Record, RecordWriter, read_records
from mnv2search.spec.space import SearchSpace
from mnv2search.spec.yaml.codec import loads
from mnv2search.study.baseline import baseline_grid
from mnv2search.study.results import result_of
from mnv2search.study.types import Evaluated, SearchResult, Settings


def run_folder(name: str | Path) -> Path:
    """The folder of a run, given by its path or, in `results`, by its name.

    Raises:
        RecordError: there is no run with this name.
    """
    folder, inside = Path(name), Path("results") / name
    if folder.parent != Path() or folder.exists():
        return folder
    if not inside.exists():
        raise RecordError(
            f"there is no run {str(name)!r} in results", hint="give its name, or its folder, such as results/NAME"
        )
    return inside


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
    items = [evaluated_of(record) for record in read_records(folder, space=space, builds=False)]
    return manifest, result_of(items, grid=baseline_grid(space), elapsed_s=manifest.elapsed_s)


def recorded(folder: Path, space: SearchSpace) -> tuple[Evaluated, ...]:
    """The evaluations of a run so far; empty if it has not begun."""
    if not (folder / EVALUATIONS).exists():
        return ()
    return tuple(evaluated_of(record) for record in read_records(folder, space=space, builds=False))


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
    """A record, converted for the search."""
    return Evaluated(
        trial=record.trial,
        stage=record.stage,
        pick=record.pick,
        evaluation=record.evaluation,
        worker=record.worker,
    )


ENDED = ("finished", "nothing fits")
# Time for the final measurement, even if the time was used up before an interruption.
MIN_RESUME_S = 20.0
# Shortest interval between two writes of the manifest.
INTERVAL_S = 2.0


class RunLog:
    """Writes each evaluation and the time used as soon as the evaluation finishes.

    Time counts up to the last evaluation or checkpoint on disk. The time of an interrupted evaluation does not count,
    so a resumed run can spend it again.

    Attributes:
        manifest: the current manifest; the file may be up to `INTERVAL_S` older.
        earlier_s: time used by earlier parts of the run.

    Raises:
        WriteError: a file cannot be written (raised by any method).
    """

    def __init__(self, folder: Path, manifest: Manifest, *, clock: Callable[[], float]) -> None:
        self._folder, self._clock = folder, clock
        self._lock = (folder / LOCK).stat()
        self._records = RecordWriter(folder / EVALUATIONS)
        self.earlier_s = manifest.elapsed_s
        self.write(manifest)

    def write(self, manifest: Manifest) -> None:
        """Replace the manifest."""
        self.check()
        write_manifest(self._folder, manifest)
        self.manifest = manifest
        self._written_at = self._clock()

    def evaluated(self, item: Evaluated, *, elapsed_s: float) -> None:
        """Append an evaluation, with the time since this part of the run began."""
        self.check()
        self._records.write(
            Record(
                trial=item.trial,
                stage=item.stage,
                evaluation=item.evaluation,
                pick=item.pick,
                worker=item.worker,
            )
        )
        self.charge(elapsed_s)

    def interrupt(self) -> None:
        """Mark the run as interrupted; if its folder cannot be written to, the released lock shows this."""
        with contextlib.suppress(WriteError):
            self.write(replace(self.manifest, status="interrupted"))

    def check(self) -> None:
        """Raise `WriteError` if the folder was removed or renamed, even if a new folder has its name."""
        if not is_held(self._folder, self._lock):
            raise WriteError(
                f"{self._folder} was removed or renamed while the run used it",
                hint="run the same command again, or resume the renamed folder with --resume",
            )

    def charge(self, elapsed_s: float) -> None:
        """Count the time since this part of the run began as used."""
        self.check()
        self.manifest = replace(self.manifest, elapsed_s=self.earlier_s + elapsed_s)
        if self._clock() - self._written_at >= INTERVAL_S:
            self.write(self.manifest)


def remaining_settings(
    settings: Settings,
    *,
    whole_s: float | None,
    held_s: float | None,
    manifest: Manifest,
    previous: Sequence[Evaluated],
) -> Settings | None:
    """The settings of the remaining search; None if earlier parts of the run completed it.

    The time of `settings` is that of the run, `whole_s`, or a share; `held_s` is the time previously requested.
    """
    used_s, has_ended = manifest.elapsed_s, manifest.status in ENDED
    if has_ended:
        done = sum(item.trial >= 0 and item.stage in ("search", "calibration") for item in previous)
        is_longer = whole_s is None or (used_s < whole_s and (held_s is None or whole_s > held_s))
        if not is_longer or (settings.trials is not None and done >= settings.trials):
            return None
    if settings.time_s is None or whole_s is None or used_s == 0:
        return settings
    # a finished run that is extended divides only the added time
    left_s = settings.time_s * (1 - used_s / whole_s) if has_ended else settings.time_s - used_s
    return replace(settings, time_s=max(left_s, MIN_RESUME_S))
