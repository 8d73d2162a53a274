"""Keeping what a library prints from its own code off the terminal, where a progress bar may stand."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Iterator

__all__ = ["quiet"]

STANDARD_ERROR = 2


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing within writes to standard error, not even what is no Python; errors are raised as ever."""
    sys.stderr.flush()
    kept, nowhere = os.dup(STANDARD_ERROR), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, STANDARD_ERROR)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, STANDARD_ERROR)
        os.close(kept)
        os.close(nowhere)
