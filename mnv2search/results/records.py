"""Evaluations as JSON Lines, appended so that a kill loses only the unfinished line."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from mnv2search.accuracy.evaluators.recorded import content_hash
from mnv2search.accuracy.types import Accuracy
from mnv2search.cost import Cost
from mnv2search.errors import RecordError, SpecError, WriteError
from mnv2search.evaluation import Budget, Evaluation
from mnv2search.latency.types import Latency
from mnv2search.results.manifest import FORMAT, MANIFEST, MAX_TRIAL, Count, Seconds, check_format, unreadable
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.space import SearchSpace, resolve
from mnv2search.spec.yaml.codec import dumps, loads
from mnv2search.untrusted import UnsafeFileError, json_as, read_bytes

Stage = Literal["calibration", "baseline", "search", "final", "final-baseline"]
# Fields of an evaluation that have the same names in a line.
KEPT = ("cost", "latency", "accuracy", "budget", "seed", "elapsed_s", "curve", "expected")
Trial = Annotated[int, Meta(ge=-1, le=MAX_TRIAL)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One line: an evaluation, with its trial, stage of the run, and pick of the space.

    Attributes:
        pick: option index on each axis of the space; empty for a network from outside the space.
    """

    trial: int
    stage: Stage
    evaluation: Evaluation
    pick: tuple[int, ...] = ()


def line_of(record: Record) -> str:
    """The record as a line of JSON, with its line break."""
    evaluation = record.evaluation
    line = _Line(
        format=FORMAT,
        trial=record.trial,
        stage=record.stage,
        name=evaluation.spec.name,
        pick=record.pick,
        spec=dumps(evaluation.spec),
        **{name: getattr(evaluation, name) for name in KEPT},
    )
    for_readers = {"hash": content_hash(evaluation.spec), "is_feasible": evaluation.is_feasible}
    return json.dumps(asdict(line) | for_readers, separators=(",", ":"), allow_nan=False) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A record as stored on its line; `line_of` adds fields that can be computed from these, for external readers."""

    format: Literal[1]
    trial: Trial
    stage: Stage
    name: str
    cost: Cost
    latency: Latency | None
    accuracy: Accuracy | None
    budget: Budget
    seed: Count
    elapsed_s: Seconds
    pick: tuple[Count, ...]
    spec: str
    curve: tuple[tuple[Count, float], ...] = ()
    expected: float | None = None


class _LineReader:
    """Reads the lines of one file, in which each name denotes one network."""

    def __init__(self, space: SearchSpace | None) -> None:
        self._space = space
        self._texts: dict[str, str] = {}
        self._specs: dict[str, ModelSpec] = {}

    def record(self, content: bytes) -> Record:
        line = json_as(_Line, content)
        spec = self._spec(line)
        if self._texts.setdefault(line.name, line.spec) != line.spec:
            raise ValueError(f"an earlier line has a different network named {line.name!r}")
        evaluation = Evaluation(spec=spec, **{name: getattr(line, name) for name in KEPT})
        return Record(trial=line.trial, stage=line.stage, evaluation=evaluation, pick=line.pick)

    def _spec(self, line: _Line) -> ModelSpec:
        picked = None
        if line.pick and self._space is not None:
            picked = replace(resolve(self._space, line.pick), name=line.name)
            if dumps(picked) == line.spec:  # several times faster than parsing the text
                self._specs[line.spec] = picked
                return picked
        spec = self._specs.get(line.spec) or loads(line.spec)
        if not isinstance(spec, ModelSpec):
            raise ValueError("its spec is a search space")
        if spec.name != line.name or picked not in (None, spec):
            raise ValueError(f"its spec is not the network {line.name!r} that its pick describes")
        self._specs[line.spec] = spec
        return spec


EVALUATIONS = "evaluations.jsonl"
# A run of 3,000 networks takes 10 MB.
MAX_BYTES = 1 << 30


class RecordWriter:
    """Appends records to a file, each flushed to disk before `write` returns.

    An incomplete last line, left by a kill, is removed when the file is opened again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        _cut_torn_line(path)

    def write(self, record: Record) -> None:
        """Append one record.

        Raises:
            WriteError: the record cannot be written; all earlier records are kept.
        """
        line = line_of(record)
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            _cut_torn_line(self._path)
            raise WriteError(
                f"{self._path}: cannot be written: {error.strerror}",
                hint="free some space and run the same command again; finished trials are kept",
            ) from error


def read_records(folder: Path | str, *, space: SearchSpace | None = None) -> tuple[Record, ...]:
    """The records of a results folder, in the order of writing; an incomplete last line is skipped.

    Args:
        folder: folder of a run.
        space: space of the run; if given, picks outside the space are refused, and reading is faster.

    Raises:
        RecordError: the file is missing, or a line is not a record; the message starts with ``file:line``.
    """
    records: list[Record] = []
    for number, _, record in checked_lines(folder, space=space):
        if isinstance(record, str):
            raise RecordError(
                f"{Path(folder) / EVALUATIONS}:{number}: is not a record ({record})",
                hint=f"set the damaged lines aside: `mnv2search verify --repair {shlex.quote(str(folder))}`",
            )
        records.append(record)
    return tuple(records)


def checked_lines(
    folder: Path | str, *, space: SearchSpace | None = None
) -> Iterator[tuple[int, bytes, Record | str]]:
    """Yield number, content, and record or error message of each complete line of a folder's records.

    Raises:
        RecordError: the file is missing, or has another format version.
    """
    path = Path(folder) / EVALUATIONS
    try:
        content = read_bytes(path, max_bytes=MAX_BYTES)
    except (OSError, UnsafeFileError) as error:
        if isinstance(error, FileNotFoundError) and (Path(folder) / MANIFEST).exists():
            raise RecordError(
                f"{folder}: no network is finished yet", hint="resume the run: `mnv2search run --resume NAME`"
            ) from error
        raise unreadable(path, error) from error
    reader = _LineReader(space)
    lines = content.split(b"\n")
    for number, line in enumerate(
        lines[:-1], start=1
    ):  # the rest after the last newline is empty, or cut off by a kill
        try:
            yield number, line, reader.record(line)
        except ValueError as error:
            check_format(f"{path}:{number}", line)
            what = error.diagnostics[0].message if isinstance(error, SpecError) else str(error)
            yield number, line, what


def _cut_torn_line(path: Path) -> None:
    if not path.exists():
        return
    with path.open("rb+") as file:
        data = file.read()
        if data and not data.endswith(b"\n"):
            file.truncate(data.rfind(b"\n") + 1)
