"""Render tables as CSV and Markdown, with the unit of every column in its header."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from typing import Literal, TypeAlias

from mnv2search.report.rows import Column, Rows

TableFormat: TypeAlias = Literal["csv", "markdown"]

_NUMBER = re.compile(r"[+-]?\d{1,3}(?:,\d{3})*(?:\.\d+)?")
# A spreadsheet runs a cell that begins with one of these. Source: OWASP, "CSV Injection".
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_SPECIAL = re.compile(r"[\\|<`*]|\](?=\()")


def csv_text(rows: Rows) -> str:
    """The header, the rows and the row of totals as CSV, without title and notes.

    Numbers have no thousands separators. A text that a spreadsheet would run as a formula begins with an apostrophe.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_plain(header(column)) for column in rows.columns)
    writer.writerows(map(_plain, row) for row in _body(rows))
    return text.getvalue().rstrip("\n")


def markdown_text(rows: Rows) -> str:
    """The title, the table with its row of totals, and the notes as Markdown."""
    lines = [_line(map(header, rows.columns))]
    lines.append("| " + " | ".join("---:" if column.align == "right" else "---" for column in rows.columns) + " |")
    lines += map(_line, _body(rows))
    return "\n\n".join([f"**{_escaped(rows.title)}**", "\n".join(lines), *markdown_lines(rows.notes)])


def markdown_lines(lines: Iterable[str]) -> list[str]:
    """Lines of prose as paragraphs of Markdown."""
    return [_escaped(line) for line in lines]


def header(column: Column) -> str:
    """The title of a column with its unit.

    >>> header(Column("counted", "M", header="params counted"))
    'params counted (M)'
    """
    title = column.header or column.title
    return f"{title} ({column.unit})" if column.unit else title


def _body(rows: Rows) -> tuple[tuple[str, ...], ...]:
    return (*rows.rows, rows.footer) if rows.footer else rows.rows


def _plain(cell: str) -> str:
    if _NUMBER.fullmatch(cell):
        return cell.replace(",", "")
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(_escaped, cells))} |"


def _escaped(cell: str) -> str:
    return _SPECIAL.sub(lambda found: f"\\{found[0]}", cell)
