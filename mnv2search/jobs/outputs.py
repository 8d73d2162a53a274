"""The files that a finished run leaves beside its records."""

from __future__ import annotations

import os
from pathlib import Path

from mnv2search.errors import RecordError
from mnv2search.evaluation import Budget, Evaluation
from mnv2search.records import write_text
from mnv2search.report.csv import front_csv
from mnv2search.report.plot import front_png
from mnv2search.report.rows import accuracy_phrase, counted, measured_text
from mnv2search.spec.codec import dumps
from mnv2search.study.types import SearchResult

__all__ = ["front_path", "write_outputs"]


def write_outputs(folder: Path, result: SearchResult, *, budget: Budget) -> None:
    """Write `front/*.yaml`, `ship.yaml`, `front.csv` and `front.png`, each whole or not at all.

    Raises:
        RecordError: the disk does not take them.
    """
    kept = {front_path(folder, evaluation) for evaluation in result.front}
    for evaluation in result.front:
        write_text(front_path(folder, evaluation), _commented(evaluation))
    for stale in set((folder / "front").glob("*.yaml")) - kept:
        stale.unlink()
    if result.ship is None:
        (folder / "ship.yaml").unlink(missing_ok=True)
    else:
        write_text(folder / "ship.yaml", _commented(result.ship))
    write_text(folder / "front.csv", front_csv(result.front))
    image = front_png(
        result.front,
        dominated=result.dominated,
        baseline=result.baseline,
        budget_ms=budget.latency_ms,
        title=f"{folder.name}: {counted(len(result.front), 'network')} within {budget.latency_ms:g} ms",
    )
    _write_bytes(folder / "front.png", image)


def front_path(folder: Path, evaluation: Evaluation) -> Path:
    """Where a member of the front is written."""
    return folder / "front" / f"{evaluation.spec.name}.yaml"


def _commented(evaluation: Evaluation) -> str:
    accuracy = evaluation.accuracy
    lines = [f"# measured latency {measured_text(evaluation.latency)} ms, 95 % interval"]
    if evaluation.latency is not None:
        info = evaluation.latency.device
        lines.append(f"# on {info.runtime} {info.runtime_version}, {info.hardware}, threads {info.threads}")
    if accuracy is not None:
        lines.append(f"# {accuracy_phrase(accuracy)}")
        lines += [f"# {accuracy.note}"] if accuracy.note else []
    return "\n".join(lines) + "\n" + dumps(evaluation.spec)


def _write_bytes(path: Path, data: bytes) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise RecordError(f"{path}: cannot be written: {error.strerror}", hint="free some space") from error
