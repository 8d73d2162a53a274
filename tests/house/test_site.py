"""The documentation as a site: it builds without warnings, has every page, and loads nothing from other machines."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import DOCS, ROOT, name_of

CONFIG = ROOT / "zensical.toml"


def listed(entries: list[Any]) -> Iterator[str]:
    """The pages of a navigation, in order."""
    for entry in entries:
        if isinstance(entry, str):
            yield entry
        else:
            for value in entry.values():
                yield from listed([value] if isinstance(value, str) else value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site, from a copy of the pages."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(CONFIG, folder)
    shutil.copytree(ROOT / "docs", folder / "docs")
    build = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(build, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


def test_the_navigation_has_every_page_once() -> None:
    navigation = tomllib.loads(CONFIG.read_text(encoding="utf-8"))["project"]["nav"]
    assert sorted(listed(navigation)) == [name_of(page).removeprefix("docs/") for page in DOCS]


def test_every_page_is_built(site: Path) -> None:
    names = {page.relative_to(ROOT / "docs").with_suffix(".html").as_posix() for page in DOCS}
    built = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    assert built - {"404.html", "index.html"} == names - {"README.html"}
    assert "index.html" in built


def test_pages_load_nothing_from_other_machines(site: Path) -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.html"))
    assert re.findall(r"<(?:script|img|iframe)[^>]+src=\"?https?:[^>]*>", pages) == []
    assert re.findall(r"<link(?![^>]*canonical)[^>]+href=\"?https?:[^>]*>", pages) == []
