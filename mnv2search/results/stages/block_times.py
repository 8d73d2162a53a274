"""Measured times of the units of networks, by the profiler of a runtime."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mnv2search.atomic import write_text
from mnv2search.errors import RecordError
from mnv2search.untrusted import UnsafeFileError, read_json

BLOCK_TIMES = "block_times.json"
MAX_BYTES = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockTimes:
    """Measured times of the units of one network.

    Attributes:
        network: name of the network.
        units_ms: time of every unit of its plan in ms.
        other_ms: time of steps outside of the units, such as conversions of the input and the output.
        runs: inferences; each time is the sum of the medians of its steps.
        runtime: runtime and version whose profiler measured, such as ``onnxruntime 1.32.0``.
    """

    network: str
    units_ms: tuple[float, ...]
    other_ms: float
    runs: int
    runtime: str

    @property
    def total_ms(self) -> float:
        """Time of all steps, without the time that the runtime spends between them."""
        return sum(self.units_ms) + self.other_ms


def write_block_times(path: Path, times: Sequence[BlockTimes]) -> None:
    """Write times as JSON, atomically."""
    write_text(path, json.dumps([asdict(one) for one in times]) + "\n", makes_folder=False)


def read_block_times(path: Path) -> tuple[BlockTimes, ...]:
    """Read times; empty if the file is missing.

    Raises:
        RecordError: the file is not what `write_block_times` writes.
    """
    import msgspec  # late: start-up must not pay for it

    if not path.exists():
        return ()
    try:
        return msgspec.convert(read_json(path, max_bytes=MAX_BYTES), tuple[BlockTimes, ...])
    except (OSError, UnsafeFileError, msgspec.ValidationError) as error:
        raise RecordError(
            f"{path}: cannot be read: {error}", hint="delete it, or restore it from a backup"
        ) from error
