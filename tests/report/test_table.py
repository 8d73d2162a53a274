"""Tables on terminals of every width: names and words stay whole, and hidden columns are announced."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from mnv2search.report.networks import catalog_rows, cost_rows
from mnv2search.report.rows import Column, Rows
from mnv2search.report.table import draw, fitted
from mnv2search.spec.catalog import catalog
from mnv2search.spec.yaml.codec import load_spec

CATALOG = catalog_rows(catalog())
COST = cost_rows([load_spec("mobilenet_v2_1.0_224"), load_spec("mobilenet_v2_1.0_192")])
SENTENCES = Rows(
    title="devices",
    columns=(Column("device", align="left"), Column("why it was not accepted", align="left")),
    rows=(("torch-cuda", "torch sees no GPU: it is built without CUDA"), ("simulated", "")),
)
WIDTHS = [60, 80, 100, 120, 400]


def shown(rows: Rows, width: int) -> list[str]:
    """The lines of a table and its notes, without trailing blanks."""
    out = io.StringIO()
    draw(rows, Console(file=out, width=width))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def first_words(lines: list[str]) -> list[str]:
    """The names in the first column, below the horizontal rule."""
    rule = next(index for index, line in enumerate(lines) if line.startswith(" ─"))
    return [line.split()[0] for line in lines[rule + 1 : lines.index("", rule)]]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("rows", [CATALOG, COST], ids=["catalog", "cost"])
def test_names_are_whole_and_lines_fit(rows: Rows, width: int) -> None:
    lines = shown(rows, width)
    assert max(map(len, lines)) <= width
    assert first_words(lines) == [row[0] for row in rows.rows]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("rows", [CATALOG, COST, SENTENCES], ids=["catalog", "cost", "sentences"])
def test_no_word_and_no_number_of_a_shown_column_is_broken(rows: Rows, width: int) -> None:
    kept = fitted(rows, width)
    words = {word for column in kept.columns for word in f"{column.title} {column.unit}".split()}
    words |= {word for row in kept.rows for cell in row for word in cell.split()}
    assert words - set(" ".join(shown(rows, width)).split()) == set()


@pytest.mark.parametrize("width", [60, 80, 100])
def test_hidden_columns_are_announced(width: int) -> None:
    note, count = fitted(CATALOG, width).notes[0], len(CATALOG.columns) - len(fitted(CATALOG, width).columns)
    assert note.startswith(f"{count} columns are hidden to fit the terminal: ")
    assert note.endswith("; widen it, or use --json")
    assert " ".join(shown(CATALOG, width)).replace("  ", " ").count("hidden to fit the terminal") == 1


def test_one_hidden_column_is_announced_in_the_singular() -> None:
    rows = Rows(title="t", columns=(Column("name", align="left"), Column("count")), rows=(("a" * 10, "1"),))
    assert fitted(rows, 12).notes == ("1 column is hidden to fit the terminal: count; widen it, or use --json",)


def test_a_table_that_fits_hides_nothing() -> None:
    assert fitted(CATALOG, 400) == CATALOG


def test_spare_columns_go_first_and_then_the_last() -> None:
    columns = (Column("a"), Column("b", spare=1), Column("c"), Column("d", spare=2))
    rows = Rows(title="t", columns=columns, rows=(("1" * 5,) * 4,), footer=("2", "3", "4", "5"))
    orders = ["".join(column.title for column in fitted(rows, width).columns) for width in (31, 30, 22, 14)]
    assert orders == ["abcd", "abc", "ac", "a"]
    assert fitted(rows, 22).footer == ("2", "4")


def test_the_first_column_stays_on_any_terminal() -> None:
    lines = shown(COST, 10)
    assert first_words(lines) == ["mobilenet_v2_1.0_224", "mobilenet_v2_1.0_192"]


def test_sentences_are_wrapped_between_words_before_a_column_is_hidden() -> None:
    lines = shown(SENTENCES, 40)
    assert max(map(len, lines)) <= 40
    assert re.search(r"torch-cuda +torch sees no GPU", "\n".join(lines))
    assert "hidden" not in "\n".join(lines)


def test_wide_characters_count_twice() -> None:
    rows = Rows(title="t", columns=(Column("name", align="left"), Column("count")), rows=(("網路" * 3, "1"),))
    assert len(fitted(rows, 22).columns) == 2
    assert len(fitted(rows, 21).columns) == 1
