"""Evaluations as JSON lines and the manifest of a run: written so that a kill loses the unfinished line only."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct, to_builtins

from mnv2search.accuracy.types import Accuracy
from mnv2search.atomic import replacing
from mnv2search.cost import MAX_COUNT, Cost
from mnv2search.errors import RecordError, SpecError, WriteError
from mnv2search.evaluation import Budget, Evaluation
from mnv2search.latency.types import DeviceInfo, Latency
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.space import SearchSpace, resolve
from mnv2search.untrusted import UnsafeFileError, json_as, read_bytes

__all__ = [
    "EVALUATIONS",
    "MANIFEST",
    "STARTING",
    "Manifest",
    "Record",
    "RecordWriter",
    "RunSettings",
    "Stage",
    "Status",
    "checked_lines",
    "read_manifest",
    "read_records",
    "spec_hash",
    "write_bytes",
    "write_manifest",
    "write_text",
]

FORMAT = 1
EVALUATIONS = "evaluations.jsonl"
MANIFEST = "manifest.json"
# Status of a run whose folder may still hold files of the run that it replaces.
STARTING: Final = "starting"

Stage = Literal["calibration", "baseline", "search", "final", "final-baseline"]
Status = Literal["starting", "running", "interrupted", "finished", "nothing fits"]
# A run of 3,000 networks takes 10 MB.
MAX_EVALUATIONS_BYTES, MAX_MANIFEST_BYTES = 1 << 30, 1 << 24
# Networks are named after their trial, and names have a maximum length.
MAX_TRIAL = 99_999_999

Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
Seconds = Annotated[float, Meta(ge=0)]
Trial = Annotated[int, Meta(ge=-1, le=MAX_TRIAL)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One line: an evaluation, the trial it belongs to, the stage of the run, and how the space chose it.

    Attributes:
        pick: option index on each axis of the space; empty for a network from outside the space.
    """

    trial: int
    stage: Stage
    evaluation: Evaluation
    pick: tuple[int, ...] = ()


class RunSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Length and method of a search; see `mnv2search.study.types.Settings`.

    Attributes:
        finetune: whether the best networks are fine-tuned separately at the end.
        confirm: whether the front is compared with the runtime's own converter at the end.
    """

    trials: Annotated[int, Meta(ge=1, le=MAX_TRIAL)] | None = None
    time_s: Seconds | None = None
    sampler: str = "hybrid"
    seed: Count = 0
    batch: Annotated[int, Meta(ge=1, le=MAX_TRIAL)] = 8
    finetune: bool = False
    confirm: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a run was asked to do and with what, so that it can be resumed or repeated.

    Attributes:
        command: the words of the command line.
        versions: of Python and of each package that matters.
        space: YAML of the search space; `space_hash` is its SHA-256.
        created_at: ISO 8601, UTC.
        status: status when the manifest was last written; a killed run stays at `running`. While it is `starting`,
            other files in the folder belong to the run that it replaces.
        elapsed_s: wall time used by all parts of the run, up to its last record.
        settings: trials, time, sampler and the like, as given.
    """

    name: str
    command: tuple[str, ...]
    versions: Mapping[str, str]
    device: DeviceInfo
    evaluator: str
    budget: Budget
    seed: Count
    space_name: str
    space: str
    created_at: str
    finished_at: str = ""
    status: Status = "running"
    elapsed_s: Seconds = 0.0
    settings: RunSettings = field(default_factory=RunSettings)
    format: int = FORMAT

    @property
    def space_hash(self) -> str:
        """SHA-256 of the space's YAML."""
        return hashlib.sha256(self.space.encode()).hexdigest()


def spec_hash(spec: ModelSpec) -> str:
    """Twelve hexadecimal digits that stand for a network, its name left out.

    The same network reached by two picks has one hash.
    """
    from dataclasses import replace

    from mnv2search.spec.yaml.codec import dumps

    return hashlib.sha256(dumps(replace(spec, name="x")).encode()).hexdigest()[:12]


class RecordWriter:
    """Appends records to a file, each flushed to disk before `write` returns.

    A torn last line, as a kill leaves it, is cut off when the file is opened again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        _cut_torn_line(path)

    def write(self, record: Record) -> None:
        """Append one record.

        Raises:
            RecordError: the disk does not take it; everything before it is kept.
        """
        line = json.dumps(_record_json(record), separators=(",", ":"), allow_nan=False) + "\n"
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
    """The records of a results folder, in the order of writing; a torn last line is passed over.

    Args:
        folder: of a run.
        space: of the run; if given, picks outside the space are refused, and reading is faster.

    Raises:
        RecordError: there is no such file, or a line is not a record; the message starts with ``file:line``.
    """
    records: list[Record] = []
    for number, _, found in checked_lines(folder, space=space):
        if isinstance(found, str):
            raise RecordError(
                f"{Path(folder) / EVALUATIONS}:{number}: is not a record ({found})",
                hint=f"set the damaged lines aside: `mnv2search verify --repair {shlex.quote(str(folder))}`",
            )
        records.append(found)
    return tuple(records)


def checked_lines(
    folder: Path | str, *, space: SearchSpace | None = None
) -> Iterator[tuple[int, bytes, Record | str]]:
    """The number and content of each complete line of a folder's records, with its record or the error in it.

    Raises:
        RecordError: there is no such file, or another version of this package wrote it.
    """
    path = Path(folder) / EVALUATIONS
    try:
        content = read_bytes(path, max_bytes=MAX_EVALUATIONS_BYTES)
    except (OSError, UnsafeFileError) as error:
        if isinstance(error, FileNotFoundError) and (Path(folder) / MANIFEST).exists():
            raise RecordError(
                f"{folder}: no network is finished yet", hint="resume the run: `mnv2search run --resume NAME`"
            ) from error
        raise _unreadable(path, error) from error
    reader = _Reader(space)
    lines = content.split(b"\n")
    for number, line in enumerate(
        lines[:-1], start=1
    ):  # the rest after the last newline is empty, or cut off by a kill
        try:
            yield number, line, reader.record(line)
        except ValueError as error:
            _check_format(f"{path}:{number}", line)
            what = error.diagnostics[0].message if isinstance(error, SpecError) else str(error)
            yield number, line, what


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace `manifest.json` atomically."""
    data = to_builtins(manifest) | {"space_hash": manifest.space_hash}
    write_text(folder / MANIFEST, json.dumps(data, indent=2, allow_nan=False) + "\n")


def read_manifest(folder: Path | str) -> Manifest:
    """The manifest of a results folder.

    Raises:
        RecordError: it is missing, or not one that this version reads.
    """
    path = Path(folder) / MANIFEST
    if not path.exists():
        raise RecordError(
            f"there is no run in {folder}: its {MANIFEST} cannot be read",
            hint="give the folder of a run, such as results/NAME, or begin one with its whole command",
        )
    try:
        content = read_bytes(path, max_bytes=MAX_MANIFEST_BYTES)
    except (OSError, UnsafeFileError) as error:
        raise _unreadable(path, error) from error
    _check_format(str(path), content)
    try:
        return json_as(Manifest, content)
    except UnsafeFileError as error:
        raise RecordError(
            f"{path}: is not a manifest ({error})", hint="restore the file, or begin the run anew with --force"
        ) from error


def write_text(path: Path, text: str) -> None:
    """Like `write_bytes`, for UTF-8 text."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Replace a file atomically and flush it to disk.

    Raises:
        WriteError: the file cannot be written; the old file is kept.
    """
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise WriteError(f"{path}: cannot be written: {error.strerror}", hint="free some space") from error


def _cut_torn_line(path: Path) -> None:
    if not path.exists():
        return
    with path.open("rb+") as file:
        data = file.read()
        if data and not data.endswith(b"\n"):
            file.truncate(data.rfind(b"\n") + 1)


def _record_json(record: Record) -> dict[str, Any]:
    from mnv2search.spec.yaml.codec import dumps

    evaluation = record.evaluation
    return {
        "format": FORMAT,
        "trial": record.trial,
        "stage": record.stage,
        "name": evaluation.spec.name,
        "hash": spec_hash(evaluation.spec),
        "is_feasible": evaluation.is_feasible,
        "cost": asdict(evaluation.cost),
        "latency": None if evaluation.latency is None else asdict(evaluation.latency),
        "accuracy": None if evaluation.accuracy is None else asdict(evaluation.accuracy),
        "budget": asdict(evaluation.budget),
        "seed": evaluation.seed,
        "elapsed_s": evaluation.elapsed_s,
        "curve": [list(point) for point in evaluation.curve],
        "expected": evaluation.expected,
        "pick": list(record.pick),
        "spec": dumps(evaluation.spec),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A record as stored on its line; fields that can be computed from the others are for external readers only."""

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


class _Reader:
    """Reads the lines of one file, in which each name denotes one network."""

    def __init__(self, space: SearchSpace | None) -> None:
        self._space = space
        self._texts: dict[str, str] = {}
        self._specs: dict[str, ModelSpec] = {}

    def record(self, content: bytes) -> Record:
        """The record of a line.

        Raises:
            ValueError: the line is not a record; the message says why.
        """
        line = json_as(_Line, content)
        spec = self._spec(line)
        if self._texts.setdefault(line.name, line.spec) != line.spec:
            raise ValueError(f"an earlier line has a different network named {line.name!r}")
        evaluation = Evaluation(
            spec=spec,
            cost=line.cost,
            latency=line.latency,
            accuracy=line.accuracy,
            budget=line.budget,
            seed=line.seed,
            elapsed_s=line.elapsed_s,
            curve=line.curve,
            expected=line.expected,
        )
        return Record(trial=line.trial, stage=line.stage, evaluation=evaluation, pick=line.pick)

    def _spec(self, line: _Line) -> ModelSpec:
        from mnv2search.spec.yaml.codec import dumps, loads

        picked = None
        if line.pick and self._space is not None:
            picked = replace(resolve(self._space, line.pick), name=line.name)
            if dumps(picked) == line.spec:  # several times as fast as parsing the text
                self._specs[line.spec] = picked
                return picked
        spec = self._specs.get(line.spec) or loads(line.spec)
        if not isinstance(spec, ModelSpec):
            raise ValueError("its spec is a search space")
        if spec.name != line.name or picked not in (None, spec):
            raise ValueError(f"its spec is not the network {line.name!r} that its pick describes")
        self._specs[line.spec] = spec
        return spec


class _Format(Struct):
    format: Count


def _check_format(place: str, content: bytes) -> None:
    """Refuse a file that another version of this package wrote; check nothing else."""
    try:
        found = json_as(_Format, content).format
    except UnsafeFileError:
        return
    if found != FORMAT:
        raise RecordError(
            f"{place}: has format {found}; this version reads format {FORMAT}",
            hint="use the version of mnv2search that wrote it",
        )


def _unreadable(path: Path, error: OSError | UnsafeFileError) -> RecordError:
    why = error.strerror if isinstance(error, OSError) else error
    return RecordError(f"{path}: cannot be read: {why}", hint="give the folder of a run, such as results/NAME")
