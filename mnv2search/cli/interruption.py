"""Ctrl-C and SIGTERM: the first ends a command and keeps its finished work, the second ends the process at once."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from mnv2search.cli.output import show_cursor

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt for the first signal; a second one, or one after the command, ends the process at once.

    SIGTERM, which schedulers and containers send, is handled like Ctrl-C. Signals that are ignored, such as Ctrl-C in
    the background of a shell, stay ignored.
    """
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        _end_at_next()


def interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt; the next signal ends the process at once.

    The exception may be caught by a user's function, or lost in a destructor, where Python ignores exceptions. The
    next signal therefore has its default action, which runs no Python code.
    """
    del number, frame
    show_cursor()  # a progress display may have hidden it
    _end_at_next()
    raise KeyboardInterrupt


def _end_at_next() -> None:
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
