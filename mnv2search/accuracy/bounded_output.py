"""Bounds what a user's function prints, since a terminal's display formats every line, at about 5 MB/s."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from typing import TextIO, cast

# Characters that are shown of the beginning and of the end of what is printed to a stream in one call.
BEGINNING, END = 100_000, 4_000


class BoundedOutput:
    """Bounds what is printed to one of the streams of this process during a call.

    The same object serves all calls, because a logger that the first call creates keeps its stream.

    Args:
        name: ``stdout`` or ``stderr``.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._stream = cast("TextIO", getattr(sys, name))
        self._left = self._dropped = 0
        self._end = ""

    @contextlib.contextmanager
    def bounding(self) -> Iterator[None]:
        """Take the place of the stream; at the end, show how much was left out, and its end."""
        self._stream, self._left, self._dropped, self._end = getattr(sys, self._name), BEGINNING, 0, ""
        setattr(sys, self._name, self)
        try:
            yield
        finally:
            setattr(sys, self._name, self._stream)
            if self._dropped > len(self._end):
                self._stream.write(f"\n[{self._dropped - len(self._end):,} characters are not shown]\n")
            self._stream.write(self._end)
            self._left = self._dropped = 0

    def write(self, text: str) -> int:
        """Show the text, or count it and keep its end."""
        shown, hidden = text[: self._left], text[self._left :]
        if shown:
            self._stream.write(shown)
            self._left -= len(shown)
        if hidden:
            self._dropped += len(hidden)
            self._end = (self._end + hidden[-END:])[-END:]
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write lines that have their line breaks."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> object:
        """Everything else is that of the stream, such as `flush`, `isatty` and `encoding`."""
        return getattr(self._stream, name)
