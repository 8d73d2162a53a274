"""Comparisons of our files with those of the runtime's own converter, and the file that keeps them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mnv2search.atomic import write_text
from mnv2search.errors import RecordError
from mnv2search.untrusted import UnsafeFileError, read_json

CONFIRMATION = "confirmation.json"
MAX_BYTES = 1 << 24
# Two artifacts are equally fast if their ratio is this close to 1, or 1 is within its interval.
EQUAL_SPEED = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """Comparison of our artifact of a network with that of the runtime's own converter.

    Attributes:
        converter: name and version of the converter.
        difference: relative RMS difference of our artifact's output from that of the PyTorch network.
        converter_difference: the same of the converter's artifact.
        tolerance: largest accepted value of either difference.
        ratio: latency of our artifact over that of the converter's artifact, measured interleaved.
        ratio_half_width: half-width of the ratio's 95 % interval.
    """

    name: str
    converter: str
    difference: float
    converter_difference: float
    tolerance: float
    ratio: float
    ratio_half_width: float

    @property
    def answers_agree(self) -> bool:
        """Whether the outputs of both artifacts agree with that of the PyTorch network."""
        return self.difference <= self.tolerance and self.converter_difference <= self.tolerance

    @property
    def speeds_agree(self) -> bool:
        """Whether the latencies of the two artifacts agree within the uncertainty."""
        return abs(self.ratio - 1) <= max(EQUAL_SPEED, self.ratio_half_width)


def write_confirmations(path: Path, confirmations: Sequence[Confirmation]) -> None:
    """Write confirmations as JSON, atomically."""
    rows = [asdict(c) | {"answers_agree": c.answers_agree, "speeds_agree": c.speeds_agree} for c in confirmations]
    write_text(path, json.dumps(rows, indent=2) + "\n")


def read_confirmations(path: Path) -> tuple[Confirmation, ...]:
    """Read confirmations; empty if the file is missing.

    Raises:
        RecordError: the file is not what `write_confirmations` writes.
    """
    import msgspec  # late: start-up must not pay for it

    if not path.exists():
        return ()
    try:
        # a network whose output is not finite has an infinite difference
        return msgspec.convert(read_json(path, max_bytes=MAX_BYTES, finite=False), tuple[Confirmation, ...])
    except (OSError, UnsafeFileError, msgspec.ValidationError) as error:
        raise RecordError(
            f"{path}: cannot be read: {error}", hint="delete it, or restore it from a backup"
        ) from error
