"""The result of a run from its records alone."""

from __future__ import annotations

from pathlib import Path

from mnv2search.errors import RecordError
from mnv2search.evaluation import Evaluation
from mnv2search.records import STARTING, Manifest, Record, read_manifest, read_records
from mnv2search.study.results import result_of
from mnv2search.study.types import Evaluated, SearchResult

__all__ = ["evaluated_of", "recall"]


def recall(folder: Path | str) -> tuple[Manifest, SearchResult]:
    """The manifest and the result of a run; its front is that of the last side-by-side measurement.

    Before the first such measurement the front is empty, however many networks were measured.

    Raises:
        RecordError: the folder is not that of a run.
    """
    manifest = read_manifest(folder)
    if manifest.status == STARTING:  # its records, if any, are those of the run that it replaces
        raise RecordError(
            f"{folder}: no network is finished yet", hint="go on with the run: `mnv2search run --resume NAME`"
        )
    items = [evaluated_of(record) for record in read_records(folder)]
    return manifest, result_of(items, elapsed_s=manifest.elapsed_s)


def evaluated_of(record: Record) -> Evaluated:
    """A record as the search knows it."""
    evaluation: Evaluation = record.evaluation
    return Evaluated(trial=record.trial, stage=record.stage, pick=record.pick, evaluation=evaluation)
