"""Tables as CSV and Markdown."""

from __future__ import annotations

import csv
import io

from mnv2search.report.rows import Column, Rows
from mnv2search.report.table_text import csv_text, markdown_text

TABLE = Rows(
    title="two networks",
    columns=(
        Column("network", align="left"),
        Column("params", "M"),
        Column("counted", "M", header="multiply-adds counted"),
    ),
    rows=(("1,000", "3,504,872", "-12345.5"), ("=1+1", "2.0", "")),
    footer=("total", "1", "2"),
    notes=("a|b",),
)


def test_csv_has_a_header_with_units_and_the_totals() -> None:
    header, *rows = csv.reader(io.StringIO(csv_text(TABLE)))
    assert header == ["network", "params (M)", "multiply-adds counted (M)"]
    assert len(rows) == 3
    assert rows[-1] == ["total", "1", "2"]


def test_csv_numbers_have_no_thousands_separators() -> None:
    rows = list(csv.reader(io.StringIO(csv_text(TABLE))))
    assert rows[1] == ["1,000", "3504872", "-12345.5"]


def test_csv_has_three_columns_for_intervals() -> None:
    column = Column("latency [95 % interval]", "ms")
    table = Rows(title="t", columns=(column,), rows=(("~+2.0 [-1.9, +2.1]",), ("not measured",)))
    assert list(csv.reader(io.StringIO(csv_text(table)))) == [
        ["latency (ms)", "latency, 95 % interval low (ms)", "latency, 95 % interval high (ms)"],
        ["~+2.0", "-1.9", "+2.1"],
        ["not measured", "", ""],
    ]


def test_csv_cells_are_no_formulas() -> None:
    assert list(csv.reader(io.StringIO(csv_text(TABLE))))[2][0] == "'=1+1"


def test_markdown_is_a_table_with_aligned_numbers() -> None:
    lines = markdown_text(TABLE).splitlines()
    assert lines[:4] == [
        "**two networks**",
        "",
        "| network | params (M) | multiply-adds counted (M) |",
        "| --- | ---: | ---: |",
    ]
    assert lines[-2:] == ["", "a\\|b"]


def test_markdown_cells_are_no_markup() -> None:
    table = Rows(title="t", columns=(Column("network"),), rows=(("[x](y) <b> `c` a|b *d*",),))
    assert markdown_text(table).splitlines()[-1] == r"| [x\](y) \<b> \`c\` a\|b \*d\* |"


def test_an_address_of_a_row_is_not_escaped() -> None:
    table = Rows(title="t", columns=(Column("stage"),), rows=(("blocks[0]",),))
    assert "| blocks[0] |" in markdown_text(table)
