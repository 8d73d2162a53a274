"""Live displays on stderr; nothing is drawn where stderr is not a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from mnv2search.cli.output import note, stderr_console
from mnv2search.report.rows import accuracy_phrase, measured_text

if TYPE_CHECKING:
    from mnv2search.latency.measuring.timing import OnProgress
    from mnv2search.study.types import Progress as SearchProgress

__all__ = ["SearchDisplay", "measuring", "plain_turns", "preparing", "profiling", "searching"]

PHASES = {
    "baseline": "measuring the MobileNetV2 grid",
    "calibration": "measuring first networks",
    "preparation": "preparing",
    "search": "searching",
    "final": "measuring the front side by side",
    "finetune": "training the best networks",
}
# The same where the evaluation of one network takes long.
EVALUATING = {
    "baseline": "evaluating the best of the MobileNetV2 grid",
    "calibration": "evaluating first networks",
    "search": "searching",
}
# Without a terminal a line is written when this much time has passed, as a sign of life.
PLAIN_EVERY_S = 10.0
# In a training, whose evaluations are told of anyway.
TRAINING_EVERY_S = 30.0


class Turns(Protocol):
    """Says whether it is time for a line."""

    def __call__(self, *, is_told: bool) -> bool:
        """Whether a line is to be written: what is told in any case, and otherwise now and then."""
        ...


def plain_turns(clock: Callable[[], float] = time.monotonic) -> Turns:
    """Says when a line on a training is due where stderr is no terminal."""
    last_s = clock()

    def is_due(*, is_told: bool) -> bool:
        nonlocal last_s
        if not is_told and clock() - last_s < TRAINING_EVERY_S:
            return False
        last_s = clock()
        return True

    return is_due


@contextmanager
def measuring(total: int, *, quiet: bool, verb: str = "measuring", things: str = "networks") -> Iterator[OnProgress]:
    """A bar of networks that are done with; yields what to call with its progress.

    Args:
        total: how many there are; 0 where that is not known.
        quiet: draw nothing.
        verb: what is done to them.
        things: in place of networks.
    """
    console = stderr_console()
    if quiet or not console.is_terminal:
        yield lambda _: None
        return
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn(f"{{task.completed:.0f}} of {total} {things}" if total else f"{{task.completed:.0f}} {things}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task(verb, total=total or None)
        yield lambda settled: bar.update(task, completed=settled)


@contextmanager
def profiling(*, quiet: bool) -> Iterator[Callable[[float, int], None]]:
    """A bar of time; yields what to call with the share that has passed and the networks measured."""
    console = stderr_console()
    if quiet or not console.is_terminal:
        yield lambda _share, _measured: None
        return
    with Progress(
        TextColumn("profiling"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %, {task.fields[measured]} networks"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task("profiling", total=1.0, measured=0)
        yield lambda share, measured: bar.update(task, completed=share, measured=measured)


@contextmanager
def preparing(*, quiet: bool) -> Iterator[Callable[[str, float], None]]:
    """What to call with what is being done and the share of it that is done; a line now and then off a terminal."""
    console = stderr_console()
    if quiet:
        yield lambda _doing, _share: None
        return
    if not console.is_terminal:
        told_s = -PLAIN_EVERY_S

        def tell(doing: str, _share: float) -> None:
            nonlocal told_s
            if time.monotonic() - told_s >= PLAIN_EVERY_S:
                told_s = time.monotonic()
                note(doing)

        yield tell
        return
    with Progress(
        BarColumn(),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda doing, share: bar.update(task, completed=share, description=doing)


class _Left(ProgressColumn):
    """Time that is left, or by how much it is exceeded; it moves on while nothing is heard of a training."""

    def render(self, task: Task) -> Text:
        ends_s = task.fields["ends_s"]
        if ends_s is None:
            return Text("")
        left_s = round(ends_s - time.monotonic())
        told = timedelta(seconds=abs(left_s))
        return Text(f"{told} left" if left_s >= 0 else f"{told} over")


class SearchDisplay:
    """Where a search stands: on a terminal a live panel, elsewhere a line now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            _Left(),
            console=console,
        )
        self._task = self._bar.add_task("starting", total=1.0, ends_s=None)
        self._live: Live | None = None
        self._told_s = -PLAIN_EVERY_S

    def __enter__(self) -> SearchDisplay:
        if self._console.is_terminal:
            self._live = Live(self._bar, console=self._console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, progress: SearchProgress) -> None:
        """Draw the newest state."""
        line = _line(progress)
        if self._live is not None:
            ends_s = None if progress.left_s is None else time.monotonic() + progress.left_s
            self._bar.update(
                self._task, completed=_share(progress), description=_description(progress), ends_s=ends_s
            )
            self._live.update(Group(self._bar, Text(line)))
        elif progress.elapsed_s - self._told_s >= PLAIN_EVERY_S:
            self._told_s = progress.elapsed_s
            left = "" if progress.left_s is None else f", {progress.left_s:.0f} s left"
            note(f"{_description(progress)}: {line}{left}")


@contextmanager
def searching(*, quiet: bool) -> Iterator[Callable[[SearchProgress], None]]:
    """What to call with every progress of a search."""
    if quiet:
        yield lambda _: None
        return
    with SearchDisplay(stderr_console()) as display:
        yield display.show


def _description(progress: SearchProgress) -> str:
    evaluates = bool(progress.doing) and progress.phase in ("baseline", "calibration", "search")
    return EVALUATING[progress.phase] if evaluates else PHASES[progress.phase]


def _line(progress: SearchProgress) -> str:
    if progress.doing:
        return progress.doing
    total = "" if progress.trials_total is None else f" of {progress.trials_total}"
    parts = [
        f"{progress.trials}{total} trials",
        f"{progress.measured} measured",
        f"{progress.predicted:,} predicted only",
    ]
    if (best := progress.best) is not None and best.accuracy is not None:
        parts.append(f"best within budget: {accuracy_phrase(best.accuracy)} at {measured_text(best.latency)} ms")
    return ", ".join(parts)


def _share(progress: SearchProgress) -> float:
    if progress.left_s is not None:
        whole = progress.elapsed_s + progress.left_s
        return progress.elapsed_s / whole if whole > 0 else 1.0
    return min(1.0, progress.trials / progress.trials_total) if progress.trials_total else 0.0
