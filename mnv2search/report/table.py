"""Draw tables with rich."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from rich import box
from rich.console import Console
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from mnv2search.report.rows import Rows
from mnv2search.untrusted import escaped

T = TypeVar("T")

WIDEST = 400


def drawn(rows: Rows) -> Table:
    """The rows as a plain-text table, with control characters escaped."""
    table = Table(
        title=_text(rows.title),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_footer=bool(rows.footer),
        pad_edge=False,
    )
    footer = rows.footer or ("",) * len(rows.columns)
    for index, (column, foot) in enumerate(zip(rows.columns, footer, strict=True)):
        heading = _text(f"{column.title}\n{column.unit}" if column.unit else column.title)
        longest = max((len(escaped(row[index])) for row in (*rows.rows, footer)), default=1)
        table.add_column(
            heading,
            footer=_text(foot),
            justify=column.align,
            min_width=longest if column.align == "right" or column.is_whole else None,
        )
    for index, row in enumerate(rows.rows):
        table.add_row(*(_text(cell) for cell in row), style="bold" if index in rows.stressed else None)
    return table


def fitted(rows: Rows, console: Console) -> Rows:
    """The rows without the spare columns that do not fit on the console; a note lists these columns."""
    left_out: list[str] = []
    kept = rows
    while _width(kept, console) > console.width and (spare := max(c.spare for c in kept.columns)):
        index = next(i for i, column in enumerate(kept.columns) if column.spare == spare)
        left_out.append(kept.columns[index].title or kept.columns[index].header)
        kept = replace(
            kept,
            columns=_without(kept.columns, index),
            rows=tuple(_without(row, index) for row in kept.rows),
            footer=_without(kept.footer, index),
        )
    if not left_out:
        return rows
    words = ", ".join(reversed(left_out))
    return replace(kept, notes=(f"left out for lack of room: {words} (a wider terminal, or --json)", *kept.notes))


def _text(cell: str) -> Text:
    return Text(escaped(cell))


def _without(values: tuple[T, ...], index: int) -> tuple[T, ...]:
    return (*values[:index], *values[index + 1 :])


def _width(rows: Rows, console: Console) -> int:
    """The width of the drawn table, which with rich 15 may exceed the measured width."""
    lines = Segment.split_lines(console.render(drawn(rows)))
    return max(sum(segment.cell_length for segment in line) for line in lines)


def draw(rows: Rows, console: Console) -> None:
    """Print the rows and their notes.

    A table that is too wide even without its spare columns is printed whole, so that no number is broken; the
    terminal wraps the lines. If the output is not a terminal, trailing blanks are removed.
    """
    rows = fitted(rows, console)
    table = drawn(rows)
    widest = console.options.update_width(WIDEST)
    narrow = console.width
    console.width = max(narrow, console.measure(table, options=widest).minimum)
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
