"""Evaluations as JSON lines and the manifest of a run: written so that a kill loses the unfinished line only."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from mnv2search.accuracy.types import Accuracy
from mnv2search.atomic import replacing
from mnv2search.cost import Cost
from mnv2search.errors import RecordError, SpecError, WriteError
from mnv2search.evaluation import Budget, Evaluation
from mnv2search.latency.types import DeviceInfo, Latency
from mnv2search.spec.model_spec import ModelSpec

__all__ = [
    "EVALUATIONS",
    "MANIFEST",
    "STARTING",
    "Manifest",
    "Record",
    "RecordWriter",
    "Stage",
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
# The status of a run whose folder may still hold files of the run that it replaces.
STARTING = "starting"

Stage = Literal["calibration", "baseline", "search", "final", "final-baseline"]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a run was asked to do and with what, so that it can be resumed or repeated.

    Attributes:
        command: the words of the command line.
        versions: of Python and of each package that matters.
        space: YAML of the search space; `space_hash` is its SHA-256.
        created_at: ISO 8601, UTC.
        status: `starting`, `running`, `interrupted`, `finished` or `nothing fits`. While it is `starting`, other
            files in the folder belong to the run that it replaces.
        elapsed_s: wall time used so far, over all parts of the run, up to its last record.
        settings: trials, time, sampler and the like, as given.
    """

    name: str
    command: tuple[str, ...]
    versions: Mapping[str, str]
    device: DeviceInfo
    evaluator: str
    budget: Budget
    seed: int
    space_name: str
    space: str
    created_at: str
    finished_at: str = ""
    status: str = "running"
    elapsed_s: float = 0.0
    settings: Mapping[str, str | int | float | None] = field(default_factory=dict)
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

    from mnv2search.spec.codec import dumps

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


def read_records(folder: Path | str) -> tuple[Record, ...]:
    """The records of a results folder, in the order of writing; a torn last line is passed over.

    Raises:
        RecordError: there is no such file, or a line is not a record; the message starts with ``file:line``.
    """
    path = Path(folder) / EVALUATIONS
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        if isinstance(error, FileNotFoundError) and (Path(folder) / MANIFEST).exists():
            raise RecordError(
                f"{folder}: no network is finished yet", hint="go on with the run: `mnv2search run --resume NAME`"
            ) from error
        raise RecordError(
            f"{path}: cannot be read: {error.strerror}", hint="give the folder of a run, such as results/NAME"
        ) from error
    except UnicodeDecodeError as error:
        raise RecordError(f"{path}: is not UTF-8 text", hint="restore the file from a copy") from error
    return tuple(_parsed_lines(path, text))


def _parsed_lines(path: Path, text: str) -> Iterator[Record]:
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        if number == len(lines):
            return  # after the last newline: empty, or torn by a kill
        try:
            yield _record_value(json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            what = error.message if isinstance(error, SpecError) else f"{type(error).__name__}: {error}"
            raise RecordError(
                f"{path}:{number}: is not a record ({what})", hint="remove that line, or restore the file"
            ) from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace `manifest.json` atomically."""
    data = asdict(manifest)
    data["space_hash"] = manifest.space_hash
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
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format"] != FORMAT:
            raise RecordError(
                f"{path}: has format {data['format']!r}, this version reads {FORMAT}",
                hint="use the version of mnv2search that wrote it",
            )
        kept = {f.name: data[f.name] for f in fields(Manifest)}
        kept["command"] = tuple(kept["command"])
        kept["device"] = DeviceInfo(**kept["device"])
        kept["budget"] = Budget(**kept["budget"])
        return Manifest(**kept)
    except RecordError:
        raise
    except OSError as error:
        raise RecordError(
            f"{path}: cannot be read: {error.strerror}", hint="give the folder of a run, such as results/NAME"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path}: is not a manifest ({type(error).__name__}: {error})") from error


def write_text(path: Path, text: str) -> None:
    """Like `write_bytes`, for UTF-8 text."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Replace a file atomically, flushed to disk.

    Raises:
        WriteError: the disk does not take it; the old file is kept.
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
    from mnv2search.spec.codec import dumps

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


def _record_value(data: Mapping[str, Any]) -> Record:
    from mnv2search.spec.codec import loads

    if data["format"] != FORMAT:
        raise ValueError(f"format {data['format']!r}, this version reads {FORMAT}")
    spec = loads(data["spec"])
    if not isinstance(spec, ModelSpec):
        raise ValueError("its spec is a search space")
    evaluation = Evaluation(
        spec=spec,
        cost=Cost(**data["cost"]),
        latency=None if data["latency"] is None else _latency(data["latency"]),
        accuracy=None if data["accuracy"] is None else Accuracy(**data["accuracy"]),
        budget=Budget(**data["budget"]),
        seed=data["seed"],
        elapsed_s=data["elapsed_s"],
        curve=tuple((step, value) for step, value in data.get("curve", ())),
        expected=data.get("expected"),
    )
    pick: Sequence[int] = data["pick"]
    return Record(trial=data["trial"], stage=data["stage"], evaluation=evaluation, pick=tuple(pick))


def _latency(data: Mapping[str, Any]) -> Latency:
    return Latency(**{**data, "device": DeviceInfo(**data["device"])})
