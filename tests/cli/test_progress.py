"""Bars on a terminal say whether their time is elapsed or left."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from mnv2search.cli import progress


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """The output on a terminal."""
    out = io.StringIO()
    monkeypatch.setattr(progress, "stderr_console", lambda: Console(file=out, force_terminal=True, width=100))
    return out


def test_a_bar_of_networks_shows_the_elapsed_time(terminal: io.StringIO) -> None:
    with progress.measuring(2, quiet=False) as advance:
        advance(1)
    assert "1 of 2 networks" in terminal.getvalue()
    assert ":00 elapsed" in terminal.getvalue()


def test_a_bar_of_preparation_shows_the_elapsed_time(terminal: io.StringIO) -> None:
    with progress.preparing(quiet=False) as show:
        show("training", 0.5)
    assert ":00 elapsed" in terminal.getvalue()


def test_a_bar_of_time_shows_the_time_left_once_it_is_known(terminal: io.StringIO) -> None:
    with progress.profiling(quiet=False) as show:
        assert "left" not in terminal.getvalue()
        for share in (0.2, 0.4):
            show(share, 10)
    assert " left" in terminal.getvalue()
    assert "-:--:--" not in terminal.getvalue()


def test_a_quiet_bar_draws_nothing(terminal: io.StringIO) -> None:
    with progress.measuring(2, quiet=True) as advance:
        advance(1)
    assert not terminal.getvalue()
