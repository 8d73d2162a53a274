"""Loaded networks of any runtime, and the timing of their runs."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Dict, Iterator, List, NamedTuple, TypedDict

if TYPE_CHECKING:
    from types import ModuleType

    import numpy as np
    from numpy.typing import NDArray

STANDARD_ERROR = 2


class EngineError(RuntimeError):
    """The runtime is not installed, or refuses a network."""


class Settings(TypedDict):
    """Settings for running an artifact; `size` is the height and width of its input in px."""

    threads: int
    batch: int
    size: List[int]
    precision: str


class Loaded(NamedTuple):
    """A network in memory with the fixed image bound to its input.

    `output` runs once and returns the output, a float32 array (N, classes) or (N, C, H, W).
    """

    run: Callable[[], None]
    output: Callable[[], NDArray[np.float32]]


def image(batch: int, size: int | Sequence[int]) -> NDArray[np.float32]:
    """The input of every measurement: normally distributed float32 (N, 3, H, W), the same on every machine.

    `size` is H and W, or the side of a square.
    """
    import numpy as np

    sides = (size, size) if isinstance(size, int) else tuple(size)
    return np.random.default_rng(0).standard_normal((batch, 3, *sides), dtype=np.float32)


def version(engine: str) -> str:
    """The version of the runtime behind the module `engine`; an EngineError if it is not installed."""
    return str(_module(engine).version())


def refusal(engine: str, precision: str) -> str:
    """The reason why this machine does not support a precision; empty if it does or if the engine does not report.

    An engine reports by a function ``refusal(precision)``.
    """
    tell = getattr(_module(engine), "refusal", None)
    return str(tell(precision)) if tell is not None else ""


def load(engine: str, folder: str, settings: Settings) -> Loaded:
    """The artifact in `folder`, loaded by the module `engine`.

    Raises:
        EngineError: the runtime is not installed, the machine does not support the precision of `settings`, or the
            runtime refuses the network.
    """
    why = refusal(engine, settings.get("precision", "fp32"))
    if why:
        raise EngineError(why)
    loaded = _module(engine).load(folder, settings)
    assert isinstance(loaded, Loaded)
    return loaded


def step_times(engine: str, folder: str, settings: Settings, runs: int) -> Dict[str, float]:
    """Median time in ms of every step of the artifact in `folder`, by its name; empty without a profiler.

    An engine with a profiler has a function ``step_times(folder, settings, runs)``.

    Raises:
        EngineError: the runtime is not installed, or refuses the network.
    """
    timed = getattr(_module(engine), "step_times", None)
    return {} if timed is None else dict(timed(folder, settings, runs))


def _module(engine: str) -> ModuleType:
    try:
        return importlib.import_module(engine)
    except ImportError as error:
        raise EngineError(f"{engine.rpartition('.')[2]} cannot be imported ({error})") from error


def burst(
    run: Callable[[], None],
    burst_ms: float,
    warm_ms: float,
    min_runs: int,
    *,
    wall_ns: Callable[[], int] = time.perf_counter_ns,
    cpu_ns: Callable[[], int] = time.thread_time_ns,
) -> list[tuple[int, int]]:
    """(wall, CPU) time in ns of at least `min_runs` runs of one network in a row, for `burst_ms` or longer.

    Untimed runs come first, at least two and for `warm_ms`, to fill the caches. `wall_ns` is the elapsed time,
    `cpu_ns` the CPU time of this thread.
    """
    begin = wall_ns()
    run()
    run()
    while wall_ns() - begin < warm_ms * 1e6:
        run()
    runs: list[tuple[int, int]] = []
    begin = wall_ns()
    while len(runs) < min_runs or wall_ns() - begin < burst_ms * 1e6:
        wall, cpu = wall_ns(), cpu_ns()
        run()
        spent = cpu_ns() - cpu
        runs.append((wall_ns() - wall, spent))
    return runs


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
