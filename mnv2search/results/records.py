"""Evaluations as JSON Lines, appended so that a kill loses only the unfinished line."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from mnv2search.accuracy.evaluators.recorded import content_hash
from mnv2search.accuracy.types import Accuracy
from mnv2search.atomic import write_error
from mnv2search.cost import Cost
from mnv2search.display import Displayed, Listing
from mnv2search.errors import RecordError, SpecError
from mnv2search.evaluation import Budget, Evaluation
from mnv2search.latency.types import DeviceInfo, Latency
from mnv2search.results.manifest import FORMAT, MANIFEST, MAX_TRIAL, Count, Seconds, check_format, unreadable
from mnv2search.results.stored_evaluation import StoredEvaluation, StoredNetwork
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.space import Pick, SearchSpace, resolve
from mnv2search.spec.yaml.codec import dumps, loads
from mnv2search.spec.yaml.write import PickWriter
from mnv2search.study.types import Worker
from mnv2search.untrusted import UnsafeFileError, json_as, read_lines

Stage = Literal["calibration", "baseline", "search", "final", "final-baseline"]
# Fields of an evaluation that have the same names in a line.
KEPT = ("cost", "latency", "accuracy", "budget", "seed", "elapsed_s", "curve", "expected")
Trial = Annotated[int, Meta(ge=-1, le=MAX_TRIAL)]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Record(Displayed):
    """One line: an evaluation, with its trial, stage of the run, and pick of the space.

    Attributes:
        pick: option index on each axis of the space; empty for a network from outside the space.
        worker: the worker that evaluated the network; None if it was the process of the run.
    """

    trial: int
    stage: Stage
    evaluation: Evaluation
    pick: tuple[int, ...] = ()
    worker: Worker | None = None


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
        worker=record.worker,
        **{name: getattr(evaluation, name) for name in KEPT},
    )
    for_readers = {"hash": content_hash(evaluation.spec), "is_feasible": evaluation.is_feasible}
    fields = {key: value for key, value in asdict(line).items() if key != "worker" or value is not None}
    return json.dumps(fields | for_readers, separators=(",", ":"), allow_nan=False) + "\n"


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
    worker: Worker | None = None


class _LineReader:
    """Reads the lines of one file, in which each name denotes one network.

    With `builds`, every network is built, which checks it completely. Otherwise, if a line has a pick, its spec is
    only compared with the text of the pick's network, which is built when it is first used.
    """

    def __init__(self, space: SearchSpace | None, *, builds: bool) -> None:
        self._space, self._builds = space, builds
        self._writer = None if space is None else PickWriter(space)
        self._texts: dict[str, int] = {}
        self._budgets: dict[Budget, Budget] = {}
        self._devices: dict[tuple[DeviceInfo, float | None], DeviceInfo] = {}
        self._networks: dict[str, ModelSpec | StoredNetwork] = {}
        self._workers: dict[Worker, Worker] = {}

    def record(self, content: bytes, *, place: str) -> Record:
        line = json_as(_Line, content)
        text = hash(line.spec)  # takes less memory than the text
        if self._texts.setdefault(line.name, text) != text:
            raise ValueError(f"an earlier line has a different network named {line.name!r}")
        network = self._networks.get(line.name)
        if network is None or (line.pick and self._space is not None):
            network = self._networks[line.name] = self._network(line, place)
        values = {name: getattr(line, name) for name in KEPT} | self._shared_values(line)
        if isinstance(network, ModelSpec):
            evaluation = Evaluation(spec=network, **values)
        else:
            evaluation = StoredEvaluation(spec=network, **values)  # type: ignore[arg-type]
        worker = None if line.worker is None else self._workers.setdefault(line.worker, line.worker)
        return Record(trial=line.trial, stage=line.stage, evaluation=evaluation, pick=line.pick, worker=worker)

    def _shared_values(self, line: _Line) -> dict[str, object]:
        """Values that most lines have in common, as one object for all of them."""
        budget = self._budgets.setdefault(line.budget, line.budget)
        latency = line.latency
        if latency is not None:
            # the temperature is part of the key, since equal devices may differ in it
            device = self._devices.setdefault((latency.device, latency.device.temperature_c), latency.device)
            latency = replace(latency, device=device)
        return {"budget": budget, "latency": latency}

    def _network(self, line: _Line, place: str) -> ModelSpec | StoredNetwork:
        described = None
        if line.pick and self._space is not None and self._writer is not None:
            # several times faster than parsing the text
            is_described = self._writer.dumps(line.pick, name=line.name) == line.spec
            if is_described and not self._builds:
                return StoredNetwork(line.name, partial(_resolved, self._space, line.pick, line.name, place))
            described = replace(resolve(self._space, line.pick), name=line.name)
            if is_described:
                return described
        spec = loads(line.spec)
        if not isinstance(spec, ModelSpec):
            raise ValueError("its spec is a search space")
        if spec.name != line.name or described not in (None, spec):
            raise ValueError(f"its spec is not the network {line.name!r} that its pick describes")
        return spec


def _resolved(space: SearchSpace, pick: Pick, name: str, place: str) -> ModelSpec:
    try:
        return replace(resolve(space, pick), name=name)
    except SpecError as error:
        raise _damaged(place, error.diagnostics[0].message) from error


def _damaged(place: str, why: str) -> RecordError:
    folder = shlex.quote(str(Path(place).parent))
    return RecordError(
        f"{place}: is not a record ({why})",
        hint=f"set the damaged lines aside: `mnv2search verify --repair {folder}`",
    )


EVALUATIONS = "evaluations.jsonl"
# Size of the blocks in which a file is read from its end to find an incomplete last line.
BLOCK_BYTES = 1 << 16
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
            raise write_error(self._path, error, kept="finished trials are kept") from error


def read_records(folder: Path | str, *, space: SearchSpace | None = None, builds: bool = True) -> Listing[Record]:
    """The records of a results folder, in the order of writing; an incomplete last line is skipped.

    Args:
        folder: folder of a run.
        space: space of the run; if given, picks outside the space are refused, and reading is faster.
        builds: if True, every network is built, which checks that its layers fit together. If False, reading takes a
            tenth of the time: a network of the space is built and checked when it is first used, which may raise the
            same error. With `space`, the text of a network is compared with its pick in both cases.

    Raises:
        RecordError: the file is missing, or a line is not a record; the message starts with ``file:line``.
    """
    records: list[Record] = []
    for number, _, record in checked_lines(folder, space=space, builds=builds):
        if isinstance(record, str):
            raise _damaged(f"{Path(folder) / EVALUATIONS}:{number}", record)
        records.append(record)
    return Listing(records)


def checked_lines(
    folder: Path | str, *, space: SearchSpace | None = None, builds: bool = True
) -> Iterator[tuple[int, bytes, Record | str]]:
    """Yield number, content, and record or error message of each complete line of a folder's records.

    For `builds` see `read_records`.

    Raises:
        RecordError: the file is missing, or has another format version.
    """
    path = Path(folder) / EVALUATIONS
    reader = _LineReader(space, builds=builds)
    try:
        for number, line in enumerate(read_lines(path, max_bytes=MAX_BYTES), start=1):
            yield number, line, _record_or_fault(reader, line, place=f"{path}:{number}")
    except (OSError, UnsafeFileError) as error:
        if isinstance(error, FileNotFoundError) and (Path(folder) / MANIFEST).exists():
            raise RecordError(
                f"{folder}: no network is finished yet", hint="resume the run: `mnv2search run --resume NAME`"
            ) from error
        raise unreadable(path, error) from error


def _record_or_fault(reader: _LineReader, line: bytes, *, place: str) -> Record | str:
    try:
        return reader.record(line, place=place)
    except ValueError as error:
        check_format(place, line)
        return error.diagnostics[0].message if isinstance(error, SpecError) else str(error)


def _cut_torn_line(path: Path) -> None:
    if not path.exists():
        return
    with path.open("rb+") as file:
        end = whole = file.seek(0, os.SEEK_END)
        while end:
            begin = max(0, end - BLOCK_BYTES)
            file.seek(begin)
            place = file.read(end - begin).rfind(b"\n")
            if place >= 0:
                end = begin + place + 1
                break
            end = begin
        if end < whole:
            file.truncate(end)
