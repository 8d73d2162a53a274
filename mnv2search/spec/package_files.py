"""The files that ship with the package, and their names; no spec is parsed, so that shell completion is fast."""

from __future__ import annotations

import csv
from functools import lru_cache
from pathlib import Path


def search_spaces_dir() -> Path:
    """The folder of shipped spaces, inside an installed package or beside it in a source checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "search_spaces"
    return inside if inside.is_dir() else package.parent / "search_spaces"


@lru_cache(maxsize=1)
def bundled_files() -> dict[str, Path]:
    """The file of every shipped search space, by name."""
    return {path.stem: path for path in sorted(search_spaces_dir().glob("*.yaml"))}


def published_rows(table: str) -> list[dict[str, str]]:
    """The rows of a table of published networks: `networks` or `figures`."""
    with (search_spaces_dir() / "published" / f"{table}.csv").open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


@lru_cache(maxsize=1)
def published_names() -> tuple[str, ...]:
    """The name of every published network that ships, ordered by family."""
    return tuple(row["name"] for row in published_rows("networks"))
