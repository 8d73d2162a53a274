"""The exceptions of this package, with messages, hints and exit codes."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One broken rule, at an address such as ``blocks[2].stride``; an empty address means the whole file."""

    at: str
    what: str
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """A problem at a position in a file; line and column count from 1, and 0 means unknown."""

    at: str
    message: str
    hint: str
    file: str = ""
    line: int = 0
    column: int = 0
    excerpt: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: " if self.line else (f"{self.file}: " if self.file else "")
        lines = [f"{place}error: {self.message}"]
        if self.excerpt:
            gutter = f"{self.line:5} | "
            lines += [gutter + self.excerpt, " " * (len(gutter) - 2) + "| " + " " * (self.column - 1) + "^"]
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)


MOST_SHOWN = 12


class Mnv2SearchError(Exception):
    """The base class of every exception that this package raises on purpose.

    Args:
        message: description of the problem, lower case, with the actual value.
        hint: advice for fixing the problem, printed on a separate line.
    """

    exit_code: int = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class SpecError(Mnv2SearchError, ValueError):
    """A spec or search space breaks rules; the error contains every problem, not only the first."""

    exit_code = 2

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        super().__init__("\n".join(str(d) for d in diagnostics))
        self.diagnostics = tuple(diagnostics)

    @classmethod
    def from_problems(cls, problems: Iterable[Problem]) -> SpecError:
        """The error for problems found in Python values, which have no file."""
        return cls([Diagnostic(at=p.at, message=p.what, hint=p.fix) for p in problems])

    @classmethod
    def of(cls, *, at: str, what: str, fix: str) -> SpecError:
        """The error for a single problem; see `Problem`."""
        return cls.from_problems([Problem(at=at, what=what, fix=fix)])


class OptionError(Mnv2SearchError, ValueError):
    """An option or argument has a value that cannot be used."""

    exit_code = 2


class UnknownNameError(Mnv2SearchError, LookupError):
    """A name is unknown; the hint has the nearest known names, or else those in `listed` or all known names."""

    exit_code = 2

    def __init__(self, kind: str, name: str, known: Iterable[str], *, listed: Iterable[str] | None = None) -> None:
        names = sorted(known)
        near = nearest(name, names)
        candidates = names if listed is None else sorted(listed)
        more = f" and {len(candidates) - MOST_SHOWN} more" if candidates[MOST_SHOWN:] else ""
        known_text = ", ".join(candidates[:MOST_SHOWN]) + more
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {known_text}"
        super().__init__(f"unknown {kind} {name!r}", hint=hint)
        self.kind, self.name, self.known = kind, name, tuple(names)

    def __str__(self) -> str:
        return self.message


class MissingExtraError(Mnv2SearchError, ImportError):
    """A package that an optional feature needs is not installed."""

    def __init__(self, *, feature: str, package: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs the package {package}, which is not installed",
            hint=f"pip install 'mnv2search[{extra}]'" if extra else f"pip install {package}",
        )


def extra_module(name: str, *, feature: str, package: str, extra: str) -> ModuleType:
    """Import a module from the package of an extra.

    Raises:
        MissingExtraError: the package is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(feature=feature, package=package, extra=extra) from error


def check_package(package: str, *, feature: str, extra: str) -> None:
    """Check that a package is installed, without importing it.

    Raises:
        MissingExtraError: the package is not installed.
    """
    if importlib.util.find_spec(package) is None:
        raise MissingExtraError(feature=feature, package=package, extra=extra)


class DeviceError(Mnv2SearchError, RuntimeError):
    """A device could not be opened, or a network could not be run on it."""


class LatencyError(DeviceError, ValueError):
    """A latency from a device, file or prediction is not a time above 0."""


class EvaluatorError(Mnv2SearchError, RuntimeError):
    """An accuracy could not be determined."""


class ExportError(Mnv2SearchError, RuntimeError):
    """A network could not be written, or the file does not compute the same outputs."""


class DataError(Mnv2SearchError, ValueError):
    """Images cannot be read, or are not usable for training."""

    exit_code = 2


class TrainingError(Mnv2SearchError, RuntimeError):
    """A training cannot start or continue."""


class StoppedError(TrainingError):
    """A training was stopped before it had a result."""

    exit_code = 130


class RecordError(Mnv2SearchError, ValueError):
    """A results folder cannot be read, or does not belong to this command."""

    exit_code = 2


class StorageError(Mnv2SearchError, RuntimeError):
    """The storage that the workers of a run share cannot be used."""


class WeightsError(Mnv2SearchError, ValueError):
    """A weights file cannot be read, or does not fit the network."""

    exit_code = 2


class WriteError(RecordError):
    """Results cannot be written to the disk; earlier results are kept."""

    exit_code = 1


def nearest(name: str, known: Iterable[str], *, most: int = 3) -> tuple[str, ...]:
    """The known names most similar to `name`, best first.

    >>> nearest("expansoin", ["expansion", "kernel"])
    ('expansion',)
    """
    import difflib  # late: only a mistake needs it

    return tuple(difflib.get_close_matches(name, list(known), n=most, cutoff=0.6))
