"""Progress displays on stderr: bars on a terminal, otherwise at most a line now and then."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from rich.console import Group
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
from mnv2search.cli.printed_lines import printing_above
from mnv2search.report.rows import accuracy_phrase, measured_text

if TYPE_CHECKING:
    from mnv2search.latency.measuring.timing import OnProgress
    from mnv2search.study.types import Progress as SearchProgress
    from mnv2search.training.progress import Progress as TrainingProgress


PHASES = {
    "baseline": "measuring the MobileNetV2 grid",
    "calibration": "measuring first networks",
    "preparation": "preparing",
    "search": "searching",
    "final": "measuring the front again",
    "finetune": "training the best networks",
}
# Descriptions of phases in which the evaluation of a network takes long.
EVALUATING = {
    "baseline": "evaluating the best of the MobileNetV2 grid",
    "calibration": "evaluating first networks",
    "search": "searching",
}
# Shortest interval between two lines if stderr is not a terminal.
PLAIN_EVERY_S = 10.0
TRAINING_EVERY_S = 30.0


def line_due(every_s: float, *, clock: Callable[[], float] = time.monotonic) -> Callable[[], bool]:
    """Return a function that returns whether a line is due: at the first call, then every `every_s` seconds."""
    last_s = -math.inf

    def is_due() -> bool:
        nonlocal last_s
        if clock() - last_s < every_s:
            return False
        last_s = clock()
        return True

    return is_due


class _Elapsed(TimeElapsedColumn):
    """The elapsed time, labelled as such."""

    def render(self, task: Task) -> Text:
        return super().render(task).append(" elapsed")


class _Remaining(TimeRemainingColumn):
    """The estimated remaining time, labelled as such; empty before there is an estimate."""

    def render(self, task: Task) -> Text:
        return Text("") if task.time_remaining is None else super().render(task).append(" left")


@contextmanager
def _bar(
    *columns: ProgressColumn, quiet: bool, total: float | None, description: str = ""
) -> Iterator[Callable[..., None]]:
    """Show a bar on a terminal; yields its `rich.progress.Progress.update`."""
    console = stderr_console()
    if quiet or not console.is_terminal:
        yield lambda **_: None
        return
    with Progress(*columns, console=console, transient=True) as bar:
        yield partial(bar.update, bar.add_task(description, total=total))


@contextmanager
def measuring(total: int, *, quiet: bool, verb: str = "measuring", things: str = "networks") -> Iterator[OnProgress]:
    """Show a bar of finished networks or other `things`; yields a callback for their number.

    A `total` of 0 means unknown.
    """
    count = TextColumn(f"{{task.completed:.0f}} of {total} {things}" if total else f"{{task.completed:.0f}} {things}")
    with _bar(TextColumn(verb), BarColumn(), count, _Elapsed(), quiet=quiet, total=total or None) as update:
        yield lambda completed: update(completed=completed)


@contextmanager
def profiling(*, quiet: bool) -> Iterator[Callable[[float, int], None]]:
    """Show a bar of time; yields a callback for the share of the time and the number of measured networks."""
    text = TextColumn("{task.percentage:3.0f} %, {task.description} networks", markup=False)
    columns = (TextColumn("profiling"), BarColumn(), text, _Remaining())
    with _bar(*columns, quiet=quiet, total=1.0, description="0") as update:
        yield lambda share, measured: update(completed=share, description=str(measured))


@contextmanager
def preparing(*, quiet: bool) -> Iterator[Callable[[str, float], None]]:
    """Show a bar of work; yields a callback for the current activity and the finished share."""
    is_due = line_due(PLAIN_EVERY_S)
    is_plain = not quiet and not stderr_console().is_terminal
    text = TextColumn("{task.description}", markup=False)
    with _bar(BarColumn(), text, _Elapsed(), quiet=quiet, total=1.0) as update:

        def show(description: str, share: float) -> None:
            update(completed=share, description=description)
            if is_plain and is_due():
                note(description)

        yield show


@contextmanager
def training(*, quiet: bool) -> Iterator[Callable[[TrainingProgress], None]]:
    """Show the progress of a training as a bar, or as lines now and then and after evaluations; yields a callback."""
    from mnv2search.report.training import progress_text  # late: only trainings need it

    console, is_due = stderr_console(), line_due(TRAINING_EVERY_S)
    is_due()  # the first line comes later

    def write(progress: TrainingProgress) -> None:
        if not quiet and (is_due() or progress.evaluated is not None):
            note(progress_text(progress))

    if quiet or not console.is_terminal:
        yield write
        return
    text = TextColumn("{task.description}", markup=False)
    with Progress(TextColumn("training"), BarColumn(), text, _Remaining(), console=console, transient=True) as bar:
        task = bar.add_task("", total=None)

        def draw(progress: TrainingProgress) -> None:
            said = progress_text(progress)
            bar.update(task, total=progress.steps or None, completed=progress.step, description=said)
            if progress.evaluated is not None:
                console.print(said)

        yield draw


class _TimeLeft(ProgressColumn):
    """The remaining time, or by how much the time is exceeded; updated even without progress reports."""

    def render(self, task: Task) -> Text:
        ends_s = task.fields["ends_s"]
        if ends_s is None:
            return Text("")
        left_s = round(ends_s - time.monotonic())
        return Text(f"{timedelta(seconds=abs(left_s))} {'left' if left_s >= 0 else 'over'}")


@contextmanager
def searching(*, quiet: bool) -> Iterator[Callable[[SearchProgress], None]]:
    """Show the progress of a search as a live panel on a terminal, or as a line now and then; yields a callback."""
    console, is_due = stderr_console(), line_due(PLAIN_EVERY_S)

    def write(progress: SearchProgress) -> None:
        if not quiet and is_due():
            left = "" if progress.left_s is None else f", {progress.left_s:.0f} s left"
            note(f"{_description(progress)}: {_line(progress)}{left}")

    if quiet or not console.is_terminal:
        yield write
        return
    text, percent = TextColumn("{task.description}", markup=False), TextColumn("{task.percentage:3.0f} %")
    bar = Progress(text, BarColumn(), percent, _TimeLeft(), console=console)
    task = bar.add_task("starting", total=1.0, ends_s=None)

    def draw(progress: SearchProgress) -> None:
        ends_s = None if progress.left_s is None else time.monotonic() + progress.left_s
        bar.update(task, completed=_share(progress), description=_description(progress), ends_s=ends_s)
        live.update(Group(bar, Text(_line(progress))))

    live = Live(
        bar, console=console, refresh_per_second=4, transient=True, redirect_stdout=False, redirect_stderr=False
    )
    with live, printing_above(console.print):
        yield draw


def _description(progress: SearchProgress) -> str:
    evaluates = bool(progress.doing) and progress.phase in ("baseline", "calibration", "search")
    return EVALUATING[progress.phase] if evaluates else PHASES[progress.phase]


def _line(progress: SearchProgress) -> str:
    if progress.doing:
        return progress.doing
    total = "" if progress.trials_total is None else f" of {progress.trials_total}"
    parts = [
        f"{progress.trials}{total} networks of the space",
        f"{progress.measured} measured in all",
        f"{progress.predicted:,} only predicted",
    ]
    if (best := progress.best) is not None and best.accuracy is not None:
        parts.append(f"best within budget: {accuracy_phrase(best.accuracy)} at {measured_text(best.latency)} ms")
    return ", ".join(parts)


def _share(progress: SearchProgress) -> float:
    if progress.left_s is not None:
        whole = progress.elapsed_s + progress.left_s
        return progress.elapsed_s / whole if whole > 0 else 1.0
    return min(1.0, progress.trials / progress.trials_total) if progress.trials_total else 0.0
