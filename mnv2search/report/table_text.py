"""Render tables as CSV and Markdown, with the unit of every column in its header."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

from mnv2search.report.rows import Column, Rows

TableFormat: TypeAlias = Literal["csv", "markdown"]

_NUMBER = re.compile(r"[+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")
_INTERVAL = re.compile(r"(~?[+-]?[\d.]+) \[([+-]?[\d.]+), ([+-]?[\d.]+)\]")
# A spreadsheet evaluates a cell that begins with one of these. Source: OWASP, "CSV Injection".
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_SPECIAL = re.compile(r"[\\|<`*]|\](?=\()")


def csv_text(rows: Rows) -> str:
    """The header, the rows and the row of totals as CSV, without title and notes.

    Numbers have no thousands separators. A column of intervals becomes three: value, low and high. An apostrophe is
    put before a text that a spreadsheet would evaluate as a formula.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [_columns(column, cells) for column, *cells in zip(rows.columns, *_body(rows), strict=True)]
    for line in zip(*(column for group in columns for column in group), strict=True):
        writer.writerow(map(_inert, line))
    return text.getvalue().rstrip("\n")


def _columns(column: Column, cells: Sequence[str]) -> list[list[str]]:
    """A column with its header, or three columns if it contains intervals."""
    split = [_INTERVAL.fullmatch(cell) for cell in cells]
    if not any(split):
        return [[header(column), *(cells if column.align == "left" else map(_number, cells))]]
    title, _, label = (column.header or column.title).partition(" [")
    label = label.removesuffix("]") or "interval"
    titles = (title, f"{title}, {label} low", f"{title}, {label} high")
    parts = [("", "", "") if found is None else found.groups() for found in split]
    values = [_number(cell) if found is None else found[1] for cell, found in zip(cells, split, strict=True)]
    bounds = ([part[place] for part in parts] for place in (1, 2))
    return [
        [header(replace(column, title=name, header="")), *texts]
        for name, texts in zip(titles, (values, *bounds), strict=True)
    ]


def markdown_text(rows: Rows) -> str:
    """The title, the table with its row of totals, and the notes as Markdown."""
    lines = [_line(map(header, rows.columns))]
    lines.append("| " + " | ".join("---:" if column.align == "right" else "---" for column in rows.columns) + " |")
    lines += map(_line, _body(rows))
    return "\n\n".join([f"**{_escaped(rows.title)}**", "\n".join(lines), *markdown_lines(rows.notes)])


def markdown_lines(lines: Iterable[str]) -> list[str]:
    """Lines of prose as paragraphs of Markdown."""
    return [_escaped(line.strip()) for line in lines]


def header(column: Column) -> str:
    """The title of a column with its unit.

    >>> header(Column("counted", "M", header="params counted"))
    'params counted (M)'
    """
    title = column.header or column.title
    return f"{title} ({column.unit})" if column.unit else title


def _body(rows: Rows) -> tuple[tuple[str, ...], ...]:
    return (*rows.rows, rows.footer) if rows.footer else rows.rows


def _number(cell: str) -> str:
    return cell.replace(",", "") if _NUMBER.fullmatch(cell) else cell


def _inert(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) and not _NUMBER.fullmatch(cell) else cell


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(_escaped, cells))} |"


def _escaped(cell: str) -> str:
    return _SPECIAL.sub(lambda found: f"\\{found[0]}", cell)
