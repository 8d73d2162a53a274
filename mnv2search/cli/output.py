"""Output: the answer on stdout, everything else on stderr.

Only this module writes to these streams. Names and messages may come from untrusted files, programs and devices, so
all text is escaped here and cannot control the terminal.
"""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TextIO, TypeAlias

from mnv2search.errors import Mnv2SearchError
from mnv2search.untrusted import escaped

if TYPE_CHECKING:
    import click
    from rich.console import Console

    from mnv2search.report.rows import Rows


Document: TypeAlias = Mapping[str, object] | Sequence[object]

# Columns of a table that is not drawn on a terminal, so that a pipe gets whole rows.
PLAIN_WIDTH = 400


def stdout_console() -> Console:
    """A console for the answer; not a terminal: no colour, and wide enough that rows are not folded."""
    from mnv2search.cli.console import EscapingConsole

    return EscapingConsole(width=None if sys.stdout.isatty() else PLAIN_WIDTH)


def stderr_console() -> Console:
    """A console for progress and hints."""
    from mnv2search.cli.console import EscapingConsole

    return EscapingConsole(stderr=True)


def answer(lines: Iterable[str]) -> None:
    """Print lines of prose on stdout; a terminal gets them broken between words."""
    from rich.text import Text

    console = stdout_console()
    for line in lines:
        console.print(Text(escaped(line)))


def answer_as_is(text: str) -> None:
    """Print text on stdout without wrapping its lines."""
    print(escaped(text))


def emit_json(data: Document) -> None:
    """Print one JSON document, with this package's field names as keys and without control characters."""
    import json

    print(json.dumps(data, indent=2, allow_nan=False).replace("\x7f", "\\u007f"))


def emit(document: Document, *parts: Rows | Iterable[str], as_json: bool) -> None:
    """Print an answer: one JSON document, or its parts, each a table or lines of prose.

    Args:
        document: the answer for programs.
        parts: the answer for people.
        as_json: whether to print the document.
    """
    if as_json:
        emit_json(document)
        return
    from mnv2search.report.rows import Rows  # late: --help must not pay for it
    from mnv2search.report.table import draw

    for part in parts:
        if isinstance(part, Rows):
            draw(part, stdout_console())
        else:
            answer(part)


def note(text: str, *, quiet: bool = False) -> None:
    """Tell something on stderr, unless asked to be quiet."""
    if not quiet:
        print(_wrapped(escaped(text)), file=sys.stderr)


def _wrapped(text: str) -> str:
    """Text with its lines broken between words where stderr is a terminal, which would break them anywhere."""
    if not sys.stderr.isatty():
        return text
    import shutil  # late: only a terminal needs them
    import textwrap

    width = shutil.get_terminal_size().columns
    lines = (
        line if len(line) <= width else textwrap.fill(line, width, break_on_hyphens=False)
        for line in text.split("\n")
    )
    return "\n".join(lines)


def fail(error: Mnv2SearchError) -> None:
    """Print an error and its hint on stderr; a spec's diagnostics carry their own."""
    from mnv2search.errors import SpecError

    if isinstance(error, SpecError):
        note("\n".join(str(d) for d in error.diagnostics))
        return
    note(f"error: {error.message}")
    if error.hint:
        note(f"hint: {error.hint}")


def fail_usage(error: click.ClickException) -> None:
    """Print click's error about the command line on stderr."""
    shown = io.StringIO()
    error.show(file=shown)
    note(shown.getvalue().rstrip("\n"))


def route_warnings() -> None:
    """Route Python warnings and the libraries' logs through this module, except Pillow's, which name no file."""
    warnings.filterwarnings("ignore", module=r"PIL\.")
    warnings.showwarning = _show_warning
    logging.lastResort = _Notes(logging.WARNING)


class _Notes(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        note(self.format(record))


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    del file
    note(warnings.formatwarning(message, category, filename, lineno, line).rstrip("\n"))
