"""The manifest of a run, with its settings and status, and the format version of its files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, to_builtins

from mnv2search.atomic import write_text
from mnv2search.cost import MAX_COUNT
from mnv2search.errors import RecordError
from mnv2search.evaluation import Budget
from mnv2search.latency.types import DeviceInfo
from mnv2search.untrusted import UnsafeFileError, json_as, read_bytes

FORMAT: Final = 1
# Networks are named after their trial, and names have a maximum length.
MAX_TRIAL = 99_999_999

Count = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
Seconds = Annotated[float, Meta(ge=0)]


class _Format(Struct):
    format: Count


def check_format(place: str, content: bytes) -> None:
    """Refuse a file with another format version; nothing else is checked."""
    try:
        written = json_as(_Format, content).format
    except UnsafeFileError:
        return
    if written != FORMAT:
        raise RecordError(
            f"{place}: has format {written}; this version reads format {FORMAT}",
            hint="use the version of mnv2search that wrote it",
        )


def unreadable(path: Path, error: OSError | UnsafeFileError) -> RecordError:
    """The error for a file that cannot be read."""
    why = error.strerror if isinstance(error, OSError) else error
    return RecordError(f"{path}: cannot be read: {why}", hint="give the folder of a run, such as results/NAME")


MANIFEST = "manifest.json"
MAX_BYTES = 1 << 24
# Status of a run whose folder may still contain files of a replaced run.
STARTING: Final = "starting"

Status = Literal["starting", "running", "interrupted", "failed", "finished", "nothing fits"]


class RunSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of a search, see `mnv2search.study.types.Settings`, and whether to fine-tune and confirm."""

    trials: Annotated[int, Meta(ge=1, le=MAX_TRIAL)] | None = None
    time_s: Seconds | None = None
    sampler: str = "hybrid"
    seed: Count = 0
    batch: Annotated[int, Meta(ge=1, le=MAX_TRIAL)] = 8
    finetune: bool = False
    confirm: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Settings, environment and status of a run, by which it can be resumed or repeated.

    Attributes:
        command: arguments of the command line.
        versions: versions of Python and of the main packages.
        space: YAML of the search space; `space_hash` is its SHA-256.
        created_at: time of creation, ISO 8601, UTC.
        status: status when the manifest was last written; a killed run stays at `running`. If it is `starting`, other
            files in the folder belong to a replaced run.
        failure: the error that ended a run whose status is `failed`.
        elapsed_s: wall time used by all parts of the run, up to the last record.
        accuracy_detail: how the accuracies were determined; empty until the run is finished.
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
    failure: str = ""
    elapsed_s: Seconds = 0.0
    accuracy_detail: str = ""
    settings: RunSettings = field(default_factory=RunSettings)
    format: int = FORMAT

    @property
    def space_hash(self) -> str:
        """SHA-256 of the space's YAML."""
        return hashlib.sha256(self.space.encode()).hexdigest()


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace `manifest.json` atomically."""
    write_text(folder / MANIFEST, manifest_json(manifest), makes_folder=False)


def manifest_json(manifest: Manifest) -> str:
    """The manifest as JSON."""
    data = to_builtins(manifest) | {"space_hash": manifest.space_hash}
    return json.dumps(data, indent=2, allow_nan=False) + "\n"


def read_manifest(folder: Path | str) -> Manifest:
    """Read the manifest of a results folder.

    Raises:
        RecordError: the manifest is missing, cannot be read, or has another format version.
    """
    path = Path(folder) / MANIFEST
    if not path.exists():
        raise RecordError(
            f"there is no run in {folder}",
            hint="give the folder of a run, such as results/NAME, or begin one with its whole command",
        )
    try:
        content = read_bytes(path, max_bytes=MAX_BYTES)
    except (OSError, UnsafeFileError) as error:
        raise unreadable(path, error) from error
    check_format(str(path), content)
    try:
        return json_as(Manifest, content)
    except UnsafeFileError as error:
        raise RecordError(
            f"{path}: is not a manifest ({error})", hint="restore the file, or start over with --force"
        ) from error
