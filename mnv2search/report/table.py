"""Draw tables with rich."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mnv2search.report.rows import Column, Rows, counted
from mnv2search.untrusted import escaped

T = TypeVar("T")

WIDEST = 1 << 14
# Blanks at both ends of a line, and between two columns.
EDGES, GAP = 2, 3


class _Widths(NamedTuple):
    """The smallest width of a column that breaks no word, and the smallest that breaks no line."""

    least: int
    natural: int


def drawn(rows: Rows, width: int = WIDEST) -> Table:
    """The rows as a plain-text table for a terminal of a width, with control characters escaped.

    Words and numbers are never broken: a table that does not fit even with wrapped lines is drawn wider than `width`.
    """
    table = Table(
        title=_text(rows.title),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_footer=bool(rows.footer),
        pad_edge=False,
    )
    footer = rows.footer or ("",) * len(rows.columns)
    for column, foot, width_of_it in zip(rows.columns, footer, _column_widths(rows, width), strict=True):
        table.add_column(_text(_heading(column)), footer=_text(foot), justify=column.align, width=width_of_it)
    for index, row in enumerate(rows.rows):
        table.add_row(*(_text(cell) for cell in row), style="bold" if index in rows.stressed else None)
    return table


def fitted(rows: Rows, width: int) -> Rows:
    """The rows without the columns that do not fit a terminal; a note lists these columns.

    Spare columns are hidden first, then the others from the right; the first column is always shown.
    """
    hidden: list[int] = []
    kept = list(range(len(rows.columns)))
    while len(kept) > 1 and _least_width(_selected(rows, kept)) > width:
        at = max(kept[1:], key=lambda index: (rows.columns[index].spare, index))
        kept.remove(at)
        hidden.append(at)
    if not hidden:
        return rows
    names = ", ".join(rows.columns[index].title or rows.columns[index].header for index in sorted(hidden))
    verb = "is" if len(hidden) == 1 else "are"
    note = f"{counted(len(hidden), 'column')} {verb} hidden to fit the terminal: {names}; widen it, or use --json"
    shown = _selected(rows, kept)
    return replace(shown, notes=(note, *shown.notes))


def _selected(rows: Rows, indices: Sequence[int]) -> Rows:
    """The rows with some of their columns."""

    def of(values: Sequence[T]) -> tuple[T, ...]:
        return tuple(values[index] for index in indices) if values else ()

    return replace(rows, columns=of(rows.columns), rows=tuple(of(row) for row in rows.rows), footer=of(rows.footer))


def _heading(column: Column) -> str:
    return f"{column.title}\n{column.unit}" if column.unit else column.title


def _text(cell: str) -> Text:
    return Text(escaped(cell))


def _widths(rows: Rows) -> list[_Widths]:
    """The widths of every column; numbers are kept on one line."""
    found = []
    for index, column in enumerate(rows.columns):
        cells = [escaped(row[index]) for row in (*rows.rows, *([rows.footer] if rows.footer else []))]
        heading = escaped(_heading(column))
        words = heading.split() + (cells if column.align == "right" or column.is_whole else " ".join(cells).split())
        lines = heading.split("\n") + [line for cell in cells for line in cell.split("\n")]
        found.append(_Widths(max(map(cell_len, words), default=1) or 1, max(map(cell_len, lines)) or 1))
    return found


def _least_width(rows: Rows) -> int:
    return EDGES + GAP * (len(rows.columns) - 1) + sum(column.least for column in _widths(rows))


def _column_widths(rows: Rows, width: int) -> list[int]:
    """The width of each column: spare width is shared in proportion to what each column needs to break no line."""
    widths = _widths(rows)
    room = max(0, width - _least_width(rows))
    wanted = sum(column.natural - column.least for column in widths)
    share = min(1.0, room / wanted) if wanted > 0 else 0.0
    return [column.least + int(share * max(0, column.natural - column.least)) for column in widths]


def draw(rows: Rows, console: Console) -> None:
    """Print the rows and their notes.

    Columns that do not fit are hidden. If the output is not a terminal, trailing blanks are removed.
    """
    narrow = console.width
    rows = fitted(rows, narrow)
    table = drawn(rows, narrow)
    console.width = WIDEST  # the table has its own width
    if console.is_terminal:
        console.print(table, crop=False)
    else:
        with console.capture() as captured:
            console.print(table, crop=False)
        for line in captured.get().splitlines():
            console.print(Text(line.rstrip()), crop=False, soft_wrap=True)
    console.width = narrow
    for note in rows.notes:
        console.print(Text(escaped(note), style="dim"))
