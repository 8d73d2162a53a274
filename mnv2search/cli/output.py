"""What goes to stdout (the answer) and to stderr (everything else)."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from mnv2search.errors import Mnv2SearchError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["answer", "emit_json", "fail", "note", "stderr_console", "stdout_console"]

# Columns of a table that is not drawn on a terminal, so that a pipe gets whole rows.
PLAIN_WIDTH = 400


def stdout_console() -> Console:
    """A console for the answer; not a terminal: no colour, and wide enough that rows are not folded."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)


def stderr_console() -> Console:
    """A console for progress and hints."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def answer(lines: Iterable[str]) -> None:
    """Print lines of prose on stdout; a terminal gets them broken between words."""
    from rich.text import Text

    console = stdout_console()
    for line in lines:
        console.print(Text(line))


def emit_json(data: Mapping[str, object] | Sequence[object]) -> None:
    """Print one JSON document, with this package's field names as keys."""
    import json

    print(json.dumps(data, indent=2, allow_nan=False))


def note(text: str, *, quiet: bool = False) -> None:
    """Tell something on stderr, unless asked to be quiet."""
    if not quiet:
        print(text, file=sys.stderr)


def fail(error: Mnv2SearchError) -> None:
    """Print an error and its hint on stderr; a spec's diagnostics carry their own."""
    from mnv2search.errors import SpecError

    if isinstance(error, SpecError):
        print("\n".join(str(d) for d in error.diagnostics), file=sys.stderr)
        return
    print(f"error: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"hint: {error.hint}", file=sys.stderr)
