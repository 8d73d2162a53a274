"""Prints every dependency of pyproject.toml at its lower bound, as constraints for pip: `make test-oldest`."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import Requirement

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
# Tools that check the code, and do not run it: their newest versions are as good.
CHECKERS = ("import-linter", "mypy", "pre-commit", "ruff", "types-pyyaml")


def lower_bounds(pyproject: Path = PYPROJECT) -> list[str]:
    """`name==bound` of each dependency, extras included, but for the project itself and for `CHECKERS`."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    required = [Requirement(line) for group in groups for line in group]
    return sorted(
        f"{one.name}=={bound.version}"
        for one in required
        if one.name != project["name"] and one.name.lower() not in CHECKERS
        for bound in one.specifier
        if bound.operator in (">=", "==")
    )


def main(without: Sequence[str]) -> None:
    """Print the bounds, without those of the packages named."""
    print("\n".join(line for line in lower_bounds() if line.partition("==")[0] not in without))


if __name__ == "__main__":
    main(sys.argv[1:])
