"""Which precision is the fastest, by a few steps of each."""

from __future__ import annotations

import time
from collections.abc import Callable

from mnv2search.errors import StoppedError
from mnv2search.training.precision import Precision

__all__ = ["fastest"]

# Steps that tell whether bfloat16 is faster, and how much faster it has to be: without arithmetic for it, it is ten
# times slower, and a tenth is not worth its rounding.
HALF_TRIALS = 3
HALF_FASTER = 0.85
# Slower than this many times a step in single precision, there is no need to try again.
HALF_HOPELESS = 2.0


def fastest(
    step: Callable[[Precision], object],
    half: Precision,
    *,
    clock: Callable[[], float] = time.monotonic,
    is_over: Callable[[], bool] = lambda: False,
    stop: Callable[[], bool] = lambda: False,
) -> Precision:
    """Half precision where its steps are clearly faster than in single precision, by a few of each in turn.

    Args:
        step: makes one in a precision.
        half: precision to try beside single precision.
        clock: monotonic clock in seconds.
        is_over: asked after every step whether there is no time for more.
        stop: asked before every step whether to stop.

    Raises:
        StoppedError: it was asked to stop.
    """
    seconds: dict[Precision, list[float]] = {"float32": [], half: []}
    for precision in ("float32", half) * HALF_TRIALS:
        if stop():
            raise StoppedError("interrupted before the first step; run the same command to start over")
        begin = clock()
        step(precision)
        seconds[precision].append(clock() - begin)
        hopeless = seconds[half] and min(seconds[half]) > HALF_HOPELESS * max(seconds["float32"])
        if hopeless or is_over():
            break
    if not seconds[half]:
        return "float32"
    return half if min(seconds[half]) < HALF_FASTER * min(seconds["float32"]) else "float32"
