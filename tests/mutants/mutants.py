"""Faults that the tests must find: each replaces one snippet of the package, wherever that is defined."""

from __future__ import annotations

import ast
import re
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


MUTANTS = (
    Mutant(
        name="the final front takes the latencies of the search",
        symbol="measure_finalists",
        old='state.measure([e.spec for e in (*finalists, *rivals)], phase="final", time_s=state.deadline.left_s)',
        new="tuple(e.latency for e in (*finalists, *rivals))",
        tests=("tests/study",),
    ),
    Mutant(
        name="the cache of visits is not begun anew for the final measurement",
        symbol="measure_finalists",
        old="state.latency.begin_anew()",
        new="pass",
        tests=("tests/study",),
    ),
    Mutant(
        name="the sign of the violation told to Optuna is flipped",
        symbol="Journal",
        old="system_attrs={CONSTRAINTS: [evaluation.violation]}",
        new="system_attrs={CONSTRAINTS: [-evaluation.violation]}",
        tests=("tests/study",),
    ),
    Mutant(
        name="a predicted latency makes a network feasible",
        symbol="is_feasible",
        old='self.latency.kind == "measured" and',
        new="",
        tests=("tests/test_evaluation.py", "tests/study"),
    ),
    Mutant(
        name="the peak memory of a classifier forgets the live residual",
        symbol="_alive_elements",
        old="alive.append(elements + (residual if index else 0))",
        new="alive.append(elements)",
        tests=("tests/test_cost.py",),
    ),
    Mutant(
        name="warm_ms is ignored on processors",
        symbol="burst",
        old="while wall_ns() - begin < warm_ms * 1e6:",
        new="while wall_ns() - begin < 0:",
        tests=("tests/latency/test_timing.py", "tests/latency/test_serve.py", "tests/latency"),
    ),
    Mutant(
        name="warm_ms is ignored on GPUs",
        symbol="_burst",
        old="time_ns=request.warm_ms * 1e6",
        new="time_ns=0",
        tests=("tests/latency/test_torch_cuda.py",),
    ),
    Mutant(
        name="an option of `run` is renamed",
        symbol="run_command",
        holds='@click.command("run")',
        old='"--latency-min-ms"',
        new='"--latency-least-ms", "latency_min_ms"',
        tests=("tests/cli/test_commands.py", "tests/house/test_references.py"),
    ),
    Mutant(
        name="an option of `latency` is renamed",
        symbol="time",
        holds="--time",
        old='"--time", name',
        new='"--within", name',
        tests=("tests/cli/test_commands.py", "tests/house/test_references.py"),
    ),
)


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
