"""What building the profile of a device came to."""

from __future__ import annotations

from dataclasses import dataclass

from mnv2search.latency.types import DeviceInfo

__all__ = ["Profile"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What building a profile came to.

    Attributes:
        device: whose profile it is.
        spaces: names of the spaces it was chosen for.
        measured: networks measured now.
        kept: networks measured earlier that still hold.
        dropped_earlier: earlier ones were there, but missed today's measurements: another clock, or other work.
        error: mean relative error on these networks, each predicted from the others; None below three.
        elapsed_s: wall time.
    """

    device: DeviceInfo
    spaces: tuple[str, ...]
    measured: int
    kept: int
    dropped_earlier: bool
    error: float | None
    elapsed_s: float
