"""The pages of the documentation, and what is in them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").rglob("*.md"))
RESEARCH = [page for page in DOCS if page.parent.name == "research"]
# What is true today: research pages are dated, and quote what code of that day did.
PAGES = [README, ROOT / "benchmarks" / "README.md", *(page for page in DOCS if page not in RESEARCH)]


def name_of(page: Path) -> str:
    """The path of a page inside the repository."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    """The code of the fenced blocks with exactly this info string."""
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    """The text of a page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[list[str]]:
    """The words after `mnv2search` of every command of a text."""
    found = re.findall(r"^\s*(?:\$ )?mnv2search (.+?)\s*(?:  #.*)?$", text, flags=re.MULTILINE)
    return [shlex.split(line.split("   #")[0]) for line in found]


def named_commands(page: Path) -> list[list[str]]:
    """The words after `mnv2search` of every command of a page, in its prose too."""
    spans = [" ".join(span.split()) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose(page))]
    shown = "\n".join([*blocks(page, "console"), *spans])
    return [words for words in commands(shown) if not words[0].isupper()]


def named_options(page: Path) -> set[str]:
    """Every long option that a page names."""
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z](?![\w-])", page.read_text(encoding="utf-8")))


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[str]:
    """The targets of the links and images of a page that lead to files of the repository."""
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(page))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def cited_pages(code: Path) -> list[str]:
    """The pages of `docs/` that a file of code names; ncnn has a folder of that name too."""
    return re.findall(r"(?<!ncnn, )(?<![\w/])docs/[\w./-]+\.(?:md|png)", code.read_text(encoding="utf-8"))


def table_rows(text: str) -> list[list[str]]:
    """The cells of every row of the tables of a text, headers left out."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    rules = {index for index, row in enumerate(rows) if all(re.fullmatch(r":?-+:?", cell) for cell in row)}
    return [row for index, row in enumerate(rows) if index not in rules and index + 1 not in rules]


def section(page: Path, heading: str) -> str:
    """The text below a heading of the second level, as far as the next."""
    return re.split(r"^## ", prose(page).split(f"\n## {heading}\n", maxsplit=1)[1], flags=re.MULTILINE)[0]
