"""Lines that a user's code prints above a live display: long lines are cut, and too many lines are left out."""

from __future__ import annotations

import contextlib
import io
import sys
import time
from collections.abc import Callable, Iterator
from typing import TextIO

# Most characters of a line, and most lines in a second: a display needs about a second to draw a line of 1 MB.
LONGEST, MOST_LINES, WINDOW_S = 2_000, 50, 1.0


class LineWriter(io.TextIOBase):
    """A text stream that passes on its lines, cut to `LONGEST` characters, at most `MOST_LINES` in a second.

    The number of lines that were left out is shown before the next line, or by `close`.

    Attributes:
        rich_proxied_file: the stream behind this one, under the name that rich looks for.
    """

    def __init__(
        self, show: Callable[[str], None], *, behind: TextIO, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.rich_proxied_file = behind
        self._show, self._clock = show, clock
        self._line, self._shown, self._left_out = "", 0, 0
        self._since_s = clock()

    def write(self, text: str) -> int:
        """Add text; each complete line is shown or counted."""
        first, *others = text.split("\n")
        self._line += first[: LONGEST + 1 - len(self._line)] if len(self._line) <= LONGEST else ""
        for other in others:
            self._end_line()
            self._line = other[: LONGEST + 1]
        return len(text)

    def fileno(self) -> int:
        """The descriptor of the stream behind this one."""
        return self.rich_proxied_file.fileno()

    def isatty(self) -> bool:
        """Whether the stream behind this one is a terminal."""
        return self.rich_proxied_file.isatty()

    def close(self) -> None:
        """Show an unfinished line, and the number of lines that were left out."""
        if self._line:
            self._end_line()
        self._show_left_out()
        super().close()

    def _end_line(self) -> None:
        if self._clock() - self._since_s >= WINDOW_S:
            self._show_left_out()
            self._since_s, self._shown = self._clock(), 0
        if self._shown < MOST_LINES:
            self._show(self._line if len(self._line) <= LONGEST else f"{self._line[:LONGEST]}…")
        else:
            self._left_out += 1
        self._line, self._shown = "", self._shown + 1

    def _show_left_out(self) -> None:
        if self._left_out:
            self._show(f"({self._left_out:,} more lines)")
        self._left_out = 0


@contextlib.contextmanager
def printing_above(show: Callable[[str], None]) -> Iterator[None]:
    """Pass on the lines that are printed to stdout and stderr to `show`."""
    writer = LineWriter(show, behind=sys.stderr)
    with contextlib.redirect_stdout(writer), contextlib.redirect_stderr(writer):
        try:
            yield
        finally:
            writer.close()
