"""What an interrupted training says: Ctrl-C, and SIGTERM as schedulers and containers send it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from mnv2search.cli.output import note
from mnv2search.errors import StoppedError

__all__ = ["stop_requests", "told_what_is_kept"]


@contextmanager
def stop_requests(*, processes: int) -> Iterator[Callable[[], bool]]:
    """Yields whether a signal has asked to stop: then the step is ended and a checkpoint written.

    A process alone is ended at once by a second signal. Among several, one Ctrl-C arrives twice, from the terminal
    and from torchrun, which ends what takes too long.
    """
    asked = False

    def interrupt(_: int, __: FrameType | None) -> None:
        nonlocal asked
        if asked and processes == 1:
            raise KeyboardInterrupt
        asked = True

    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(one, interrupt) for one in signals]
    try:
        yield lambda: asked
    finally:
        for one, handler in zip(signals, before, strict=True):
            signal.signal(one, handler)


@contextmanager
def told_what_is_kept(folder: Path) -> Iterator[None]:
    """Say, where a training in `folder` is interrupted at once, what is kept and how to go on."""
    from mnv2search.training.course import LAST

    try:
        yield
    except KeyboardInterrupt:
        if (folder / LAST).exists():
            note(f"interrupted; {folder} keeps the training to its last checkpoint, where the same command goes on")
        else:
            note("interrupted before the first checkpoint; the same command begins anew")
        sys.exit(StoppedError.exit_code)
