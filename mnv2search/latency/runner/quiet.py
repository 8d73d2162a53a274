"""Keeping what a library prints from its own code off the terminal, where a progress bar may stand."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Iterator

STANDARD_ERROR = 2


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Discard all output to standard error, including that of native code; errors are raised as usual."""
    sys.stderr.flush()
    original, nowhere = os.dup(STANDARD_ERROR), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, STANDARD_ERROR)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(original, STANDARD_ERROR)
        os.close(original)
        os.close(nowhere)
