"""Links lead somewhere, and the index has every page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pages import DOCS, PAGES, RESEARCH, ROOT, anchors, cited_pages, links, name_of

LINKS = [(page, link) for page in [*PAGES, *RESEARCH, ROOT / "CHANGELOG.md"] for link in links(page)]
KINDS = ("tutorials", "how-to", "reference", "explanation", "research")
CODE = [path for folder in ("mnv2search", "tests", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize(("page", "link"), LINKS, ids=[f"{name_of(page)}-{link}" for page, link in LINKS])
def test_a_link_leads_to_a_file_and_to_a_heading(page: Path, link: str) -> None:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    assert target.exists()
    assert not anchor or anchor in anchors(target)


def test_the_index_has_every_page() -> None:
    index = ROOT / "docs" / "README.md"
    listed = {(index.parent / link.partition("#")[0]).resolve() for link in links(index)}
    assert listed == {*DOCS} - {index}


def test_every_page_is_of_one_kind() -> None:
    assert {page.parent.name for page in DOCS} == {*KINDS, "docs"}
    assert {page.name for page in DOCS if page.parent.name == "docs"} == {"README.md", "architecture.md"}


@pytest.mark.parametrize("page", RESEARCH, ids=name_of)
def test_a_research_page_is_dated_and_linked_from_a_page_that_rests_on_it(page: Path) -> None:
    assert re.match(r"20\d\d-\d\d-\d\d-", page.name)
    index = ROOT / "docs" / "README.md"
    assert page in {(one.parent / link.partition("#")[0]).resolve() for one, link in LINKS if one != index}


def test_the_page_on_training_on_photographs_is_short() -> None:
    text = (ROOT / "docs" / "how-to" / "train-on-photographs.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150


@pytest.mark.parametrize("path", CODE, ids=name_of)
def test_code_names_pages_that_exist(path: Path) -> None:
    assert [name for name in cited_pages(path) if not (ROOT / name).exists()] == []
