"""Installed packages and complete extras, read from package metadata without imports."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from packaging.version import Version

from mnv2search.results.diagnosis import Extra, Package
from mnv2search.untrusted import UnsafeFileError, read_text

# Source: https://packaging.python.org/en/latest/specifications/recording-installed-packages/
FOLDER = re.compile(r"(?P<name>.+?)-(?P<version>\d[^-]*)(?:-py[\d.]+)?\.(?:dist|egg)-info")
REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(?:\[[^\]]*\])?\s*(?P<specifier>[^;]*?)\s*(?:;(?P<marker>.*))?")
LOWER_BOUND = re.compile(r">=\s*([^,\s]+)")
EXTRA = re.compile(r"extra\s*==\s*['\"]([\w.-]+)['\"]")
MAX_METADATA_BYTES = 1 << 22
# Extras for contributors, which are listed after all others.
FOR_CONTRIBUTORS = ("dev",)


class Distribution(NamedTuple):
    """An installed package: its version and the folder of its metadata."""

    version: str
    folder: str


def installed(paths: Iterable[str]) -> dict[str, Distribution]:
    """The packages in folders such as those of `sys.path`, by normalized name; the first folder has precedence.

    `importlib.metadata` takes ten times as long, because it reads the description of every package.
    """
    found: dict[str, Distribution] = {}
    for path in paths:
        for name in _names(path or "."):
            if match := FOLDER.fullmatch(name):
                package = Distribution(match["version"], os.path.join(path, name))
                found.setdefault(normalized(match["name"]), package)
    return found


def normalized(name: str) -> str:
    """The name of a package as package indices compare it.

    >>> normalized("AI_Edge.Litert")
    'ai-edge-litert'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(distribution: Distribution) -> tuple[str, ...]:
    """The `Requires-Dist` lines of a package's metadata; empty if they cannot be read."""
    try:
        text = read_text(Path(distribution.folder, "METADATA"), max_bytes=MAX_METADATA_BYTES)
    except (OSError, UnsafeFileError):
        return ()
    head = text.partition("\n\n")[0].splitlines()
    return tuple(line.partition(":")[2].strip() for line in head if line.startswith("Requires-Dist:"))


def entry_points(present: Mapping[str, Distribution], group: str) -> dict[str, str]:
    """The names in a group of entry points, each with its package."""
    found: dict[str, str] = {}
    for package, distribution in present.items():
        try:
            text = read_text(Path(distribution.folder, "entry_points.txt"), max_bytes=MAX_METADATA_BYTES)
        except (OSError, UnsafeFileError):
            continue
        section = re.search(rf"^\[{re.escape(group)}\]$(.*?)(?=^\[|\Z)", text, flags=re.MULTILINE | re.DOTALL)
        if section is not None:
            found |= dict.fromkeys(re.findall(r"^\s*([^\s=#;]+)\s*=", section[1], flags=re.MULTILINE), package)
    return found


def source_requirements(pyproject: Path, project: str) -> tuple[str, ...]:
    """The requirements in the pyproject.toml of a source checkout, as `requirements` returns them; empty if none.

    The metadata of an editable installation may be older than the checkout, and lack newer extras.
    """
    import tomllib  # late: only a source checkout needs it

    try:
        described = tomllib.loads(read_text(pyproject, max_bytes=MAX_METADATA_BYTES)).get("project", {})
    except (OSError, UnsafeFileError, ValueError):
        return ()
    if not isinstance(described, dict) or described.get("name") != project:
        return ()
    extras = described.get("optional-dependencies", {})
    own = re.compile(rf"{re.escape(project)}\[([\w,.-]+)\]")

    def lines_of(name: str) -> list[str]:
        """The requirements of an extra, including those of extras that it refers to."""
        found: list[str] = []
        for line in extras.get(name, ()):
            match = own.fullmatch(line)
            found += [line] if match is None else [inner for one in match[1].split(",") for inner in lines_of(one)]
        return found

    of_extras = (f"{line}; extra == '{name}'" for name in extras for line in lines_of(name))
    return (*described.get("dependencies", ()), *of_extras)


def packages_of(lines: Iterable[str], present: Mapping[str, Distribution]) -> dict[str, tuple[Package, ...]]:
    """The required packages by extra; the key of packages without an extra is the empty string."""
    grouped: dict[str, list[Package]] = {"": []}
    for line in lines:
        if (match := REQUIREMENT.fullmatch(line)) is None:
            continue
        marker = EXTRA.search(match["marker"] or "")
        found = present.get(normalized(match["name"]))
        version = found.version if found else ""
        package = Package(
            name=match["name"],
            version=version,
            required=match["specifier"],
            is_met=bool(version) and _meets(version, match["specifier"]),
        )
        grouped.setdefault(marker[1] if marker else "", []).append(package)
    return {name: tuple(packages) for name, packages in grouped.items()}


def extras_of(packages: Mapping[str, tuple[Package, ...]], command: Callable[[str], str]) -> tuple[Extra, ...]:
    """The extras of a project; `command` returns the command that installs an incomplete extra."""
    names = sorted(filter(None, packages), key=lambda name: (name in FOR_CONTRIBUTORS, name))
    return tuple(
        Extra(
            name=name,
            packages=packages[name],
            is_complete=(complete := all(package.is_met for package in packages[name])),
            command="" if complete else command(name),
        )
        for name in names
    )


def _meets(version: str, specifier: str) -> bool:
    try:
        if bound := LOWER_BOUND.fullmatch(specifier):
            return Version(version) >= Version(bound[1])
        from packaging.specifiers import SpecifierSet  # late: it takes long to import, and lower bounds are usual

        return SpecifierSet(specifier).contains(version, prereleases=True)
    except ValueError:  # a nonstandard version or specifier
        return True


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
