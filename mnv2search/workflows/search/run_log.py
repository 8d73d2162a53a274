"""The log of a run: its evaluations and the time used, written as the run proceeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mnv2search.results.manifest import Manifest, write_manifest
from mnv2search.results.record_line import Record
from mnv2search.results.records import EVALUATIONS, RecordWriter
from mnv2search.study.types import Evaluated

__all__ = ["RunLog"]

# Shortest interval between two writes of the manifest.
INTERVAL_S = 2.0


class RunLog:
    """Writes each evaluation and the time used as soon as the evaluation finishes.

    Time counts up to the last evaluation or checkpoint on disk. The time of an interrupted evaluation does not count,
    so a resumed run can spend it again.

    Args:
        folder: of the run.
        manifest: of the run, with the time used by earlier parts.
        clock: monotonic clock in seconds.

    Attributes:
        manifest: the current manifest; the file may be up to `INTERVAL_S` older.
        earlier_s: time used by earlier parts of the run.

    Raises:
        WriteError: a file cannot be written (raised by any method).
    """

    def __init__(self, folder: Path, manifest: Manifest, *, clock: Callable[[], float]) -> None:
        self._folder, self._clock = folder, clock
        self._records = RecordWriter(folder / EVALUATIONS)
        self.earlier_s = manifest.elapsed_s
        self.write(manifest)

    def write(self, manifest: Manifest) -> None:
        """Replace the manifest."""
        write_manifest(self._folder, manifest)
        self.manifest = manifest
        self._written_at = self._clock()

    def evaluated(self, item: Evaluated, *, elapsed_s: float) -> None:
        """Append an evaluation, with the time since this part of the run began."""
        self._records.write(Record(trial=item.trial, stage=item.stage, evaluation=item.evaluation, pick=item.pick))
        self.charge(elapsed_s)

    def charge(self, elapsed_s: float) -> None:
        """Count the time since this part of the run began as used."""
        self.manifest = replace(self.manifest, elapsed_s=self.earlier_s + elapsed_s)
        if self._clock() - self._written_at >= INTERVAL_S:
            self.write(self.manifest)
