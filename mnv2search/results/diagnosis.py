"""The state of this machine and of the installation, as `doctor` reports it."""

from __future__ import annotations

from dataclasses import dataclass

from mnv2search.display import Displayed
from mnv2search.latency.measuring.frequency_scaling import FrequencyScaling


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A required package; `version` is empty if it is not installed, `required` is a specifier such as ``>=2.0``."""

    name: str
    version: str
    required: str
    is_met: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """An extra of the package; `command` installs it, and is empty if it is complete."""

    name: str
    packages: tuple[Package, ...]
    is_complete: bool
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """Whether a device or host can be used, judged by what is installed, without opening it.

    `detail` is the version or the reason, `command` makes it usable if one command can.
    """

    name: str
    is_ready: bool
    detail: str
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The machine; properties that the system does not report are empty or None.

    Attributes:
        cores: number of processors.
        usable_cores: number of processors that this process may use.
        cpu_limit: CPU limit of the container, in processors.
        load: mean number of running programs in the last minute.
        gpus: models of the NVIDIA GPUs.
    """

    processor: str
    name: str
    system: str
    cores: int
    usable_cores: int
    cpu_limit: float | None
    load: float | None
    temperature_c: float | None
    scaling: FrequencyScaling
    gpus: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A folder or file on this machine.

    Attributes:
        contents: description of the contents, such as ``measured latencies``.
        size_bytes: size of its files; None if it does not exist.
        is_complete: whether all files were counted within the time limit.
    """

    contents: str
    path: str
    size_bytes: int | None
    is_complete: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """The free space on the disk of a folder."""

    path: str
    free_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A problem, and a command that helps to fix it."""

    problem: str
    command: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Diagnosis(Displayed):
    """The state of the installation and of this machine; `executable` is the Python in use."""

    version: str
    python: str
    executable: str
    machine: Machine
    packages: tuple[Package, ...]
    extras: tuple[Extra, ...]
    devices: tuple[Readiness, ...]
    hosts: tuple[Readiness, ...]
    caches: tuple[Place, ...]
    weights: tuple[Place, ...]
    disks: tuple[Disk, ...]
    problems: tuple[Problem, ...]
