"""A rich console that shows nothing but text: no markup, and no control characters of others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from mnv2search.untrusted import escaped

__all__ = ["EscapingConsole"]


class EscapingConsole(Console):
    """Escapes all text that is drawn; only rich itself moves the cursor and sets colours."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of what is to be drawn."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(escaped(segment.text), segment.style)
