"""The log of a training: one JSON line per evaluation, TensorBoard events, curves and a report."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from mnv2search.atomic import write_text
from mnv2search.errors import RecordError, TrainingError
from mnv2search.report.curves import MAX_HISTORY_BYTES, Evaluated, history_of, training_charts
from mnv2search.report.html.page import Lines, Part, page
from mnv2search.report.plot import training_png
from mnv2search.report.rows import counted
from mnv2search.tasks.metrics import Metrics
from mnv2search.training.checkpoint import write_whole
from mnv2search.training.progress import Progress, history_record
from mnv2search.training.resumption import LAST
from mnv2search.untrusted import UnsafeFileError, read_bytes

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


HISTORY, CURVES, PAGE = "history.jsonl", "curves.png", "report.html"
BOARD_STEPS = 10


@contextmanager
def logged(
    folder: Path, on_progress: Callable[[Progress], None], *, on_begin: Callable[[], None] = lambda: None
) -> Iterator[Callable[[Progress], None]]:
    """A progress callback that also logs every evaluation, and writes event files if TensorBoard is installed.

    If the folder holds a checkpoint, the log is appended to; otherwise it starts empty. Nothing is written before the
    number of steps is known, since a training may be refused until then; `on_begin` is called at that time.

    Raises:
        RecordError: the log cannot be appended to.
    """
    _begin_history(folder / HISTORY, is_new=not (folder / LAST).exists())
    board: SummaryWriter | None = None
    is_begun = False

    def log(progress: Progress) -> None:
        nonlocal board, is_begun
        metrics = progress.evaluated
        if progress.steps and not is_begun:
            on_begin()
            board, is_begun = _board(folder), True
        if metrics is not None:
            _append(folder / HISTORY, history_record(progress))
        if board is not None and (metrics is not None or progress.step % BOARD_STEPS == 0):
            shown = {f"train/{name}": getattr(progress, name) for name in ("loss", "lr", "images_per_s")}
            if metrics is not None:
                shown |= {f"held_out/{name}": value for name, value in _scalars(metrics).items()}
            for name, value in shown.items():
                board.add_scalar(name, value, progress.step)
        on_progress(progress)

    try:
        yield log
    finally:
        if board is not None:
            board.close()


def _scalars(metrics: Metrics) -> dict[str, float]:
    loss = {} if metrics.loss is None else {"loss": metrics.loss}
    return {metrics.main.name: metrics.main.value, **loss, **dict(metrics.details)}


def _begin_history(path: Path, *, is_new: bool) -> None:
    """Cut off an incomplete last line, which a kill may leave, or everything if the training is new."""
    try:
        content = read_bytes(path, max_bytes=MAX_HISTORY_BYTES)
        os.truncate(path, 0 if is_new else content.rfind(b"\n") + 1)
    except FileNotFoundError:
        return
    except (UnsafeFileError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RecordError(f"{path}: cannot be appended to: {reason}", hint="move it to another folder") from error


def _append(path: Path, evaluation: dict[str, object]) -> None:
    line = json.dumps(json.loads(json.dumps(evaluation), parse_constant=lambda _: None))  # NaN is no JSON
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        raise TrainingError(
            f"{path} cannot be written: {error.strerror}", hint="free some space and run the same command again"
        ) from error


def write_page(
    folder: Path,
    *,
    title: str,
    lines: Sequence[str],
    batch: int,
    best_step: int | None = None,
    parts: Sequence[Part] = (),
    on_note: Callable[[str], None] = lambda _: None,
) -> None:
    """Write ``curves.png``, and ``report.html`` with lines, curves and `parts`; notes report damaged log lines.

    `best_step` is the step after which the weights were kept.
    """
    shown: list[Part] = [Lines(title="Results", lines=tuple(lines))]
    evaluations = _evaluations(folder / HISTORY, on_note)
    if evaluations:
        write_whole(folder / CURVES, training_png(evaluations, batch=batch))
        shown += training_charts(evaluations, batch=batch, best_step=best_step)
    write_text(folder / PAGE, page(title, [*shown, *parts]))


def _evaluations(path: Path, on_note: Callable[[str], None]) -> tuple[Evaluated, ...]:
    try:
        evaluations, damaged = history_of(path)
    except (UnsafeFileError, OSError) as error:
        on_note(f"there are no curves: {path} cannot be read: {error}")
        return ()
    if damaged:
        lines = counted(len(damaged), "damaged line")
        on_note(f"{path}: the curves leave out {lines}, beginning with line {damaged[0]}")
    return evaluations


def _board(folder: Path) -> SummaryWriter | None:
    if find_spec("tensorboard") is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations in its own dependencies
        from torch.utils.tensorboard import SummaryWriter
    return SummaryWriter(str(folder / "tensorboard"))
