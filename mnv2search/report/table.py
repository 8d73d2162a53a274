"""Rows drawn as rich tables."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mnv2search.report.rows import Rows

__all__ = ["draw", "drawn"]

WIDEST = 400


def drawn(rows: Rows) -> Table:
    """The rows as a table, plain text only."""
    table = Table(
        title=Text(rows.title),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_footer=bool(rows.footer),
        pad_edge=False,
    )
    footer = rows.footer or ("",) * len(rows.columns)
    for index, (column, foot) in enumerate(zip(rows.columns, footer, strict=True)):
        heading = Text(f"{column.title}\n{column.unit}" if column.unit else column.title)
        longest = max((len(row[index]) for row in (*rows.rows, footer)), default=1)
        table.add_column(
            heading, footer=Text(foot), justify=column.align, min_width=longest if column.align == "right" else None
        )
    for index, row in enumerate(rows.rows):
        table.add_row(*(Text(cell) for cell in row), style="bold" if index in rows.stressed else None)
    return table


def draw(rows: Rows, console: Console) -> None:
    """Print the rows and their notes.

    A table wider than the console is printed whole, and the terminal breaks its lines: no number is broken by us.
    """
    table = drawn(rows)
    widest = console.options.update_width(WIDEST)
    narrow = console.width
    console.width = max(narrow, console.measure(table, options=widest).minimum)
    console.print(table, crop=False)
    console.width = narrow
    for note in rows.notes:
        console.print(Text(note, style="dim"))
