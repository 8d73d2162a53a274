"""The diagnosis of the installation and this machine, as lines of text and JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from mnv2search.results.diagnosis import Diagnosis, Machine, Place, Readiness

OK, ABSENT, PROBLEM, FACT = "ok", "--", "!!", "  "


def diagnosis_json(found: Diagnosis) -> dict[str, object]:
    """The diagnosis as a JSON document."""
    return asdict(found)


def diagnosis_lines(found: Diagnosis) -> Iterator[str]:
    """Lines of text in sections; each is marked ok, -- (not installed, which may be intended) or !! (a problem)."""
    yield f"mnv2search {found.version or 'of unknown version'}, Python {found.python} ({found.executable})"
    yield from ("", "machine", *_machine_lines(found.machine))
    yield from ("", "packages")
    for package in found.packages:
        mark = OK if package.is_met else PROBLEM
        yield _line(mark, f"{package.name} {package.version or 'is not installed'} ({package.required or 'any'})")
    yield from ("", "extras")
    for extra in found.extras:
        names = ", ".join(f"{p.name} {p.version or '(missing)'}" for p in extra.packages)
        yield _line(OK if extra.is_complete else ABSENT, f"{extra.name}: {names}", extra.command)
    yield from ("", "devices (to open each of them, run mnv2search devices)", *map(_readiness_line, found.devices))
    yield from ("", "other machines", *map(_readiness_line, found.hosts))
    yield from ("", "storage", *map(_place_line, found.caches))
    yield from (_place_line(place) for place in found.weights)
    yield from (_line(FACT, f"{disk.free_bytes / 1e9:.1f} GB are free for {disk.path}") for disk in found.disks)
    yield from ("", *_problem_lines(found))


def _machine_lines(here: Machine) -> Iterator[str]:
    yield _line(FACT, ", ".join(filter(None, (here.processor, here.name, here.system))))
    usable = "" if here.usable_cores == here.cores else f", of which this process may use {here.usable_cores}"
    yield _line(FACT, f"{here.cores} processor{'s' * (here.cores != 1)}{usable}{_load_text(here)}")
    scaling = here.scaling
    governors = ", ".join(scaling.governors) or "not reported (usual in a virtual machine)"
    yield _line(FACT, f"frequency governor: {governors}")
    if scaling.has_boost is not None:
        yield _line(FACT, f"turbo clocks: {'on' if scaling.has_boost else 'off'}")
    if scaling.throttled is not None:
        yield _line(FACT, f"throttled by heat {scaling.throttled:,} times since the machine was started")
    if here.temperature_c is not None:
        yield _line(FACT, f"temperature: {here.temperature_c:.0f} °C")
    for gpu in here.gpus:
        yield _line(FACT, f"GPU: {gpu}")


def _load_text(here: Machine) -> str:
    return "" if here.load is None else f"; {here.load:.1f} running programs in the last minute"


def _readiness_line(one: Readiness) -> str:
    return _line(OK if one.is_ready else ABSENT, f"{one.name}: {one.detail}", one.command)


def _place_line(place: Place) -> str:
    if place.size_bytes is None:
        return _line(ABSENT, f"{place.contents}: none ({place.path})")
    least = "" if place.is_complete else "at least "
    return _line(OK, f"{place.contents}: {least}{_size_text(place.size_bytes)} ({place.path})")


def _size_text(size_bytes: int) -> str:
    unit, name = (1e9, "GB") if size_bytes >= 1e9 else (1e6, "MB") if size_bytes >= 1e6 else (1e3, "kB")
    return f"{size_bytes / unit:.1f} {name}"


def _problem_lines(found: Diagnosis) -> Iterator[str]:
    if not found.problems:
        yield "no problem found"
        return
    yield f"{len(found.problems)} problem{'s' * (len(found.problems) != 1)}, each with a command that helps to fix it"
    for problem in found.problems:
        yield _line(PROBLEM, problem.problem, problem.command)


def _line(mark: str, text: str, command: str = "") -> str:
    return f"  {mark}  {text}" + (f"\n        {command}" if command else "")
