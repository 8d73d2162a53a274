"""Write results to stdout, and everything else to stderr.

Only this module writes to these streams. Names and messages may come from untrusted files, programs and devices, so
all text is escaped here and cannot control the terminal.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
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
    from mnv2search.report.table_text import TableFormat


Document: TypeAlias = Mapping[str, object] | Sequence[object]

# Width in columns if stdout is not a terminal, so that the rows of a table are not wrapped.
PLAIN_WIDTH = 400


def stdout_console() -> Console:
    """A console for results; if stdout is not a terminal, it is wide enough that rows are not wrapped."""
    from mnv2search.cli.console import EscapingConsole

    return EscapingConsole(width=None if sys.stdout.isatty() else PLAIN_WIDTH)


def stderr_console() -> Console:
    """A console for progress and hints."""
    from mnv2search.cli.console import EscapingConsole

    return EscapingConsole(stderr=True)


def printing_to_stderr() -> contextlib.redirect_stdout[TextIO]:
    """Redirect stdout to stderr while a user's function may print, because stdout is for results."""
    return contextlib.redirect_stdout(sys.stderr)


def answer(lines: Iterable[str]) -> None:
    """Print lines of prose on stdout, wrapped on a terminal without breaking words such as paths."""
    for line in lines:
        print(_wrapped(escaped(line), sys.stdout))


def answer_as_is(text: str) -> None:
    """Print text on stdout without wrapping its lines."""
    print(escaped(text))


def emit_json(data: Document) -> None:
    """Print one JSON document, with this package's field names as keys and without control characters."""
    import json

    print(json.dumps(data, indent=2, allow_nan=False).replace("\x7f", "\\u007f"))


def emit(
    document: Document,
    *parts: Rows | Iterable[str],
    as_json: bool,
    table_format: TableFormat | None = None,
) -> None:
    """Print a result, as one JSON document or as tables and lines of prose.

    Args:
        document: the result as a JSON document.
        parts: the result as tables and lines.
        as_json: whether to print the document instead of the parts.
        table_format: format of the tables; None draws them for a terminal. With ``csv``, text other than tables goes
            to stderr.
    """
    if as_json:
        emit_json(document)
        return
    if table_format is not None:
        _emit_text(parts, table_format)
        return
    from mnv2search.report.rows import Rows  # late: --help must not pay for it
    from mnv2search.report.table import draw

    for part in parts:
        if isinstance(part, Rows):
            draw(part, stdout_console())
        else:
            answer(part)


def _emit_text(parts: Sequence[Rows | Iterable[str]], table_format: TableFormat) -> None:
    """Print tables and lines as CSV or Markdown, separated by empty lines."""
    from mnv2search.report.rows import Rows  # late: --help must not pay for it
    from mnv2search.report.table_text import csv_text, markdown_lines, markdown_text

    texts: list[str] = []
    for part in parts:
        lines = part.notes if isinstance(part, Rows) else part
        if table_format == "csv":
            texts += [csv_text(part)] if isinstance(part, Rows) else []
            for line in lines:
                note(line)
        else:
            texts += [markdown_text(part)] if isinstance(part, Rows) else markdown_lines(lines)
    if texts:
        answer_as_is("\n\n".join(texts))


def note(text: str, *, quiet: bool = False) -> None:
    """Print a message on stderr, unless `quiet`."""
    if not quiet:
        print(_wrapped(escaped(text), sys.stderr), file=sys.stderr)


def show_cursor() -> None:
    """Show the cursor of a terminal, which a progress display may have hidden; safe in a signal handler."""
    with contextlib.suppress(OSError, ValueError):  # a stream that is closed or has no descriptor
        if sys.stderr.isatty():
            os.write(sys.stderr.fileno(), b"\x1b[?25h")


def _wrapped(text: str, stream: TextIO) -> str:
    """The text, wrapped between words if the stream is a terminal."""
    if not stream.isatty():
        return text
    import shutil  # late: only a terminal needs them
    import textwrap

    width = shutil.get_terminal_size().columns

    def filled(line: str) -> str:
        indent = line[: len(line) - len(line.lstrip())]
        return textwrap.fill(
            line,
            width,
            subsequent_indent=indent and f"{indent}    ",
            break_on_hyphens=False,
            break_long_words=False,
        )

    return "\n".join(line if len(line) <= width else filled(line) for line in text.split("\n"))


def fail(error: Mnv2SearchError) -> None:
    """Print an error and its hint on stderr; for a `SpecError`, print its diagnostics."""
    from mnv2search.errors import SpecError

    if isinstance(error, SpecError):
        note("\n".join(str(d) for d in error.diagnostics))
        return
    note(f"error: {error.message}")
    if error.hint:
        note(f"hint: {error.hint}")


def fail_usage(error: click.ClickException) -> None:
    """Print a usage error of click on stderr."""
    shown = io.StringIO()
    error.show(file=shown)
    note(shown.getvalue().rstrip("\n"))


def route_warnings() -> None:
    """Route Python warnings and library logs through this module; ignore Pillow's warnings, which name no file."""
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
