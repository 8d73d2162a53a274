"""What a training leaves beside its weights: a line for each evaluation, events for TensorBoard, curves, a page."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mnv2search.records import write_text
from mnv2search.report.curves import history_of, training_png
from mnv2search.report.page import Lines, Part, Picture, page
from mnv2search.training.checkpoint import write_whole
from mnv2search.training.progress import F, ProgressOf

__all__ = ["CURVES", "HISTORY", "PAGE", "noted", "write_page"]

HISTORY, CURVES, PAGE = "history.jsonl", "curves.png", "report.html"
BOARD_STEPS = 10


@contextmanager
def noted(
    folder: Path, told: Callable[[ProgressOf[F]], None], scalars: Callable[[F], Mapping[str, float]]
) -> Iterator[Callable[[ProgressOf[F]], None]]:
    """Also appends every evaluation to a file of JSON lines, and writes what TensorBoard shows where it is there.

    Args:
        folder: of the training.
        told: to be told of progress.
        scalars: figures by the names under which TensorBoard shows them.
    """
    board = _board(folder)

    def note(progress: ProgressOf[F]) -> None:
        figures = progress.evaluated
        if figures is not None:
            folder.mkdir(parents=True, exist_ok=True)
            with open(folder / HISTORY, "a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(progress)) + "\n")
        if board is not None and (figures is not None or progress.step % BOARD_STEPS == 0):
            shown = {f"train/{name}": getattr(progress, name) for name in ("loss", "lr", "images_per_s")}
            if figures is not None:
                shown |= {f"held_out/{name}": value for name, value in scalars(figures).items()}
            for name, value in shown.items():
                board.add_scalar(name, value, progress.step)
        told(progress)

    try:
        yield note
    finally:
        if board is not None:
            board.close()


def write_page(folder: Path, *, title: str, lines: Sequence[str], batch: int, parts: Sequence[Part] = ()) -> None:
    """Write ``curves.png``, and ``report.html`` with lines, curves and further parts.

    Args:
        folder: of the training, with its history.
        title: of the page.
        lines: what the training came to.
        batch: images a step.
        parts: below the curves.

    Raises:
        TrainingError: the disk does not take them.
        RecordError: likewise.
    """
    shown: list[Part] = [Lines(title="What it came to", lines=tuple(lines))]
    if (folder / HISTORY).exists():
        curves = training_png(history_of(folder / HISTORY), batch=batch)
        write_whole(folder / CURVES, curves)
        shows = "training loss and figures on held-out images over the steps"
        shown.append(Picture(title="How it went", png=curves, shows=shows))
    write_text(folder / PAGE, page(title, [*shown, *parts]))


def _board(folder: Path) -> Any:
    """A writer of TensorBoard's event files, or None where TensorBoard is not installed."""
    if find_spec("tensorboard") is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what its own dependencies call old
        from torch.utils.tensorboard import SummaryWriter
    return SummaryWriter(str(folder / "tensorboard"))
