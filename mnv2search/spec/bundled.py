"""Where the YAML files that ship with the package lie."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

__all__ = ["bundled_files", "search_spaces_dir"]


def search_spaces_dir() -> Path:
    """The folder of shipped spaces: inside an installed package, or beside it in a source checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "search_spaces"
    return inside if inside.is_dir() else package.parent / "search_spaces"


@lru_cache(maxsize=1)
def bundled_files() -> dict[str, Path]:
    """Name to file of every shipped search space."""
    return {path.stem: path for path in sorted(search_spaces_dir().glob("*.yaml"))}
