"""The state of a supernet's training, in a file beside its weights."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from mnv2search.cost import MAX_COUNT, check_counts
from mnv2search.errors import TrainingError
from mnv2search.supernet.proxy_scale import Fidelity
from mnv2search.training.checkpoint import write_whole
from mnv2search.training.trainer import LAST
from mnv2search.untrusted import UnsafeFileError, json_as, read_bytes

STATE = "supernet.json"
MAX_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The state of a supernet's training; steps and images are 0 until it ends.

    Attributes:
        epochs: expected passes over the images.
        side: of the batches in px.
    """

    fidelity: Fidelity
    epochs: float
    side: int = 0
    steps: int = 0
    images: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if not (all(0 < share <= 1 for share in self.fidelity) and 0 < self.epochs < MAX_COUNT and self.seconds >= 0):
            raise ValueError("fidelity is from 0 to 1, epochs are above 0 and seconds are not negative")
        check_counts(side=self.side, steps=self.steps, images=self.images)


def read_state(folder: Path) -> State | None:
    """The state in a folder, or None.

    Raises:
        TrainingError: it cannot be read.
    """
    path = folder / STATE
    if not path.exists():
        return None
    try:
        return json_as(State, read_bytes(path, max_bytes=MAX_BYTES))
    except (OSError, UnsafeFileError) as error:
        raise TrainingError(f"{path} cannot be read: {error}", hint="remove it to start over") from error


def is_trained(folder: Path) -> bool:
    """Whether a folder holds a supernet whose training is finished.

    Raises:
        TrainingError: the state cannot be read.
    """
    state = read_state(folder)
    return state is not None and state.steps > 0 and (folder / LAST).exists()


def write_state(folder: Path, state: State) -> None:
    """Write the state to a folder.

    Raises:
        TrainingError: it cannot be written.
    """
    write_whole(folder / STATE, (json.dumps(asdict(state)) + "\n").encode())
