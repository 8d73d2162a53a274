"""The remaining work of a resumed search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mnv2search.results.manifest import Manifest
from mnv2search.study.types import Evaluated, Settings

__all__ = ["ENDED", "remaining_settings"]

ENDED = ("finished", "nothing fits")
# Time for the final measurement, even if the time was used up before an interruption.
MIN_RESUME_S = 20.0


def remaining_settings(
    settings: Settings,
    *,
    whole_s: float | None,
    held_s: float | None,
    manifest: Manifest,
    previous: Sequence[Evaluated],
) -> Settings | None:
    """The settings of the remaining search; None if earlier parts of the run completed it.

    Args:
        settings: of the search, whose time is the run's or a share of it.
        whole_s: time of the whole run.
        held_s: time limit that the run was last given.
        manifest: of the run, with the time used.
        previous: earlier evaluations.
    """
    done = sum(1 for item in previous if item.trial >= 0 and item.stage in ("search", "calibration"))
    used_s = manifest.elapsed_s
    trials_over = settings.trials is not None and done >= settings.trials
    time_over = whole_s is not None and (used_s >= whole_s or (held_s is not None and whole_s <= held_s))
    has_ended = manifest.status in ENDED
    if has_ended and (trials_over or time_over):
        return None
    if settings.time_s is None or whole_s is None or used_s == 0:
        return settings
    # a finished run that is extended divides only the added time
    left_s = settings.time_s * (1 - used_s / whole_s) if has_ended else settings.time_s - used_s
    return replace(settings, time_s=max(left_s, MIN_RESUME_S))
