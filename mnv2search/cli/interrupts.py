"""Interrupts of a training: Ctrl-C, and SIGTERM, which schedulers and containers send."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from mnv2search.cli.output import note
from mnv2search.errors import StoppedError


@contextmanager
def stop_requests(*, processes: int) -> Iterator[Callable[[], bool]]:
    """Yields a function that says whether a signal has asked to stop after the step, with a checkpoint.

    A second signal ends a single process at once. With several processes it does not, since one Ctrl-C arrives twice,
    from the terminal and from torchrun; torchrun kills a process that takes too long.
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
    """When a training in `folder` is interrupted immediately, say what is kept and how to resume."""
    from mnv2search.training.trainer import LAST

    try:
        yield
    except KeyboardInterrupt:
        if (folder / LAST).exists():
            note(f"interrupted; the last checkpoint is kept in {folder}: run the same command to resume")
        else:
            note("interrupted before the first checkpoint; run the same command to start over")
        sys.exit(StoppedError.exit_code)
