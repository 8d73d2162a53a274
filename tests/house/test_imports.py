"""The graph of imports between files: late imports and those for type checking count like any other."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
import house


@pytest.fixture(scope="module")
def imports() -> house.Imports:
    return house.imports_of(house.trees())


def test_no_files_import_each_other_in_a_circle(imports: house.Imports) -> None:
    assert house.circles(imports) == set()


def test_no_file_imports_from_a_layer_above_or_an_independent_one_beside_it(imports: house.Imports) -> None:
    assert house.upward_imports(imports) == set()


def test_every_top_level_module_is_in_a_layer(imports: house.Imports) -> None:
    named = {name for layer in house.layers() for group in layer for name in group}
    assert {module.split(".")[1] for module in imports if "." in module} - {"__main__"} == named


def test_a_circle_is_found_through_other_files() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}
    assert house.circles({m: frozenset(o) for m, o in graph.items()}) == {frozenset("abc")}


@pytest.mark.parametrize(
    ("module", "other"),
    [
        ("mnv2search.report.search.run", "mnv2search.workflows.search.run"),
        ("mnv2search.latency.x", "mnv2search.accuracy.y"),
    ],
    ids=["above", "beside"],
)
def test_an_upward_import_is_found(module: str, other: str) -> None:
    graph: house.Imports = {module: frozenset({other}), other: frozenset()}
    assert house.upward_imports(graph) == {(module, other)}
