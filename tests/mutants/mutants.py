"""Faults that the tests must find, listed in `mutants.toml`: each replaces one snippet of the package."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MUTANTS", "Mutant", "place"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One planted fault.

    Attributes:
        name: what is wrong then.
        symbol: function or class that holds the snippet.
        old: the snippet; white space of any kind and length matches.
        new: what stands in its place.
        tests: files and folders of tests, of which one should fail; those likeliest to come first.
        holds: another snippet of the definition, where several of that name hold `old`.
    """

    name: str
    symbol: str
    old: str
    new: str
    tests: tuple[str, ...]
    holds: str = ""


_LISTED = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))["mutant"]
MUTANTS = tuple(Mutant(**{**one, "tests": tuple(one["tests"])}) for one in _LISTED)


def place(mutant: Mutant, package: Path) -> tuple[Path, int, int]:
    """The file and the span of characters that a mutant replaces.

    Raises:
        LookupError: no definition, or more than one, holds the snippet; it has to be adapted to the code of today.
    """
    snippet = re.compile(r"\s+".join(map(re.escape, mutant.old.split())))
    found = {
        (path, begin + match.start(), begin + match.end())
        for path in sorted(package.rglob("*.py"))
        for begin, text in _definitions(path.read_text(encoding="utf-8"), mutant.symbol)
        if mutant.holds in text
        for match in snippet.finditer(text)
    }
    if len(found) != 1:
        raise LookupError(f"{len(found)} places hold {mutant.old!r} in {mutant.symbol}: adapt it in tests/mutants")
    return found.pop()


def _definitions(source: str, symbol: str) -> Iterator[tuple[int, str]]:
    """Where each function or class of a name begins, and its text with its decorators."""
    if symbol not in source:
        return
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == symbol:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            yield starts[first - 1], source[starts[first - 1] : starts[node.end_lineno or first]]
