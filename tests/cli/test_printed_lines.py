"""What a user's code prints above a display: complete lines, cut and limited."""

from __future__ import annotations

import io
import os
import sys

import pytest
from clocks import CountingClock

from mnv2search.cli import progress
from mnv2search.cli.console import EscapingConsole
from mnv2search.cli.output import show_cursor
from mnv2search.cli.printed_lines import LONGEST, MOST_LINES, LineWriter


def shown_of(texts: list[str], *, tick_s: float = 0.0) -> list[str]:
    """The lines shown for some writes."""
    shown: list[str] = []
    with LineWriter(shown.append, behind=io.StringIO(), clock=CountingClock(tick_s)) as writer:
        for text in texts:
            assert writer.write(text) == len(text)
    return shown


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["a", "b\n", "c\nd"], ["ab", "c", "d"]),
        (["\n", "\n"], ["", ""]),
        (["e" * LONGEST, "\n"], ["e" * LONGEST]),
        (["e" * (1 << 20), "e" * (1 << 20), "\nnext"], [f"{'e' * LONGEST}…", "next"]),
        ([f"first\n{'e' * (1 << 20)}\nnext\n"], ["first", f"{'e' * LONGEST}…", "next"]),
        (["x\n" * (MOST_LINES + 1200)], [*["x"] * MOST_LINES, "(1,200 more lines)"]),
    ],
    ids=["pieces", "empty lines", "long", "too long in pieces", "too long", "too many"],
)
def test_lines_are_shown_whole_cut_or_counted(texts: list[str], expected: list[str]) -> None:
    assert shown_of(texts) == expected


def test_lines_are_shown_again_after_a_second() -> None:
    assert shown_of(["x\n"] * 2 * MOST_LINES, tick_s=0.1) == ["x"] * 2 * MOST_LINES


def test_a_signal_finds_the_terminal_behind_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    main, terminal = os.openpty()
    with open(terminal, "w") as behind:
        monkeypatch.setattr(sys, "stderr", LineWriter(lambda _: None, behind=behind))
        show_cursor()
    assert os.read(main, 100) == b"\x1b[?25h"


def test_what_is_printed_during_a_search_is_shown_above_the_display(monkeypatch: pytest.MonkeyPatch) -> None:
    out, behind = io.StringIO(), sys.stderr
    console = EscapingConsole(file=out, force_terminal=True, width=100)
    monkeypatch.setattr(progress, "stderr_console", lambda: console)
    with progress.searching(quiet=False):
        print("a line of mine\x1b[2J")
        print("another", file=sys.stderr)
    assert "a line of mine\\x1b[2J" in out.getvalue()
    assert "another" in out.getvalue()
    assert sys.stderr is behind
