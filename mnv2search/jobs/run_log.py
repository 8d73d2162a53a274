"""What a run writes while it goes on: its evaluations, and the time that they took."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from mnv2search.records import EVALUATIONS, Manifest, Record, RecordWriter, write_manifest
from mnv2search.study.types import Evaluated

__all__ = ["RunLog"]

# The manifest is written this often at most while evaluations come in.
INTERVAL_S = 2.0


class RunLog:
    """Writes each evaluation as it finishes, and the time used, so that a killed run does not get it again.

    Time counts up to the last result on disk, an evaluation or a checkpoint: what an interrupted evaluation took is
    lost work, and the run gets that time again.

    Args:
        folder: of the run.
        manifest: of the run; its time is that of earlier parts.
        clock: seconds that never go backwards.

    Attributes:
        manifest: as it is now; the file may be older by `INTERVAL_S`.
        earlier_s: time that earlier parts of the run took.

    Raises:
        WriteError: the disk does not take it; from any method.
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
