"""Ctrl-C and SIGTERM: the first stops a command and keeps finished work; the second ends the process at once."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from mnv2search.cli.output import show_cursor

SIGNALS = (signal.SIGINT, signal.SIGTERM)
AGAIN_S = 0.02


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt for the first signal; the second ends the process at once.

    SIGTERM, which schedulers and containers send, is handled like Ctrl-C. After the command has ended, already the
    first signal ends the process. Ignored signals, such as Ctrl-C in the background of a shell, stay ignored.
    """
    _set_handlers(interrupt)
    before, sys.unraisablehook = sys.unraisablehook, _interrupt_again
    try:
        yield
    finally:
        sys.unraisablehook = before
        _set_handlers(signal.SIG_DFL)


def interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt; the next signal ends the process at once.

    A user's function may catch the exception. Therefore the next signal has its default action, which runs no Python
    code.
    """
    del number, frame
    show_cursor()  # a progress display may have hidden it
    _set_handlers(signal.SIG_DFL)
    raise KeyboardInterrupt


def _interrupt_again(lost: sys.UnraisableHookArgs) -> None:
    """Repeat an interruption that was raised in a destructor, where Python ignores exceptions."""
    if lost.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(lost)
        return
    _set_handlers(interrupt)
    again = threading.Timer(AGAIN_S, _send_again)
    again.daemon = True
    again.start()


def _send_again() -> None:
    for number in SIGNALS:
        if signal.getsignal(number) is interrupt:
            os.kill(os.getpid(), number)
            return


def _set_handlers(handler: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)
