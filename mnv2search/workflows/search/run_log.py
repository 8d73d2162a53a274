"""The log of a run, which is written as the run proceeds, and the remaining work of a resumed run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from mnv2search.results.manifest import Manifest, write_manifest
from mnv2search.results.records import EVALUATIONS, Record, RecordWriter
from mnv2search.study.types import Evaluated, Settings

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


def remaining_settings(
    settings: Settings,
    *,
    whole_s: float | None,
    held_s: float | None,
    manifest: Manifest,
    previous: Sequence[Evaluated],
) -> Settings | None:
    """The settings of the remaining search; None if earlier parts of the run completed it.

    The time of `settings` is the run's, `whole_s`, or a share of it; `held_s` is the time that it was last given.
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
