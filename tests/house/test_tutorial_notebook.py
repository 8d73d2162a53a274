"""The notebook of the tutorials runs from the first cell to the last, and each result is shown."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from pages import ROOT

NOTEBOOK = ROOT / "docs" / "tutorials" / "notebook.ipynb"
DOCUMENT = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
CELLS = ["".join(cell["source"]) for cell in DOCUMENT["cells"] if cell["cell_type"] == "code"]
REPRESENTATIONS = ("_repr_html_", "_repr_png_")


def shown(code: str, names: dict[str, object]) -> str | bytes | None:
    """Run a cell; returns what a notebook shows of the expression that ends it."""
    body = ast.parse(code).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, type_ignores=[]), NOTEBOOK.name, "exec"), names)
    if not isinstance(last, ast.Expr):
        return None
    value = eval(compile(ast.Expression(last.value), NOTEBOOK.name, "eval"), names)
    representation = next(name for name in REPRESENTATIONS if hasattr(value, name))
    found: str | bytes = getattr(value, representation)()
    return found


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    outputs = [shown(code, names) for code in CELLS]
    assert [output is None for output in outputs] == [True, *[False] * (len(CELLS) - 1)]
    assert all(output is None or len(output) > 100 for output in outputs)
    assert (tmp_path / "ship.onnx").stat().st_size > 1_000_000


def test_the_notebook_holds_no_output() -> None:
    assert [cell["outputs"] for cell in DOCUMENT["cells"] if cell["cell_type"] == "code"] == [[]] * len(CELLS)
