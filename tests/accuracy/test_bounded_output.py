"""What a user's function prints is shown, unless it is too much for a terminal."""

from __future__ import annotations

import logging
import sys

import pytest

from mnv2search.accuracy.bounded_output import BEGINNING, END, BoundedOutput


def test_what_fits_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with BoundedOutput("stdout").bounding():
        print("epoch 1")
        sys.stdout.writelines(["epoch 2\n", "epoch 3\n"])
        sys.stdout.flush()
    assert capsys.readouterr().out == "epoch 1\nepoch 2\nepoch 3\n"


def test_the_beginning_and_the_end_of_more_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with BoundedOutput("stderr").bounding():
        print("first", file=sys.stderr)
        for _ in range(100):
            print("e" * 10_000, file=sys.stderr)
        print("last", file=sys.stderr)
    shown = capsys.readouterr().err
    hidden = len("first\n") + 100 * 10_001 + len("last\n") - BEGINNING - END
    assert shown.startswith("first\neee")
    assert f"\n[{hidden:,} characters are not shown]\n" in shown
    assert shown.endswith("eee\nlast\n")
    assert len(shown) < BEGINNING + END + 100


def test_every_call_has_a_beginning_and_errors_pass(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        print("e" * 2 * BEGINNING)
        raise OSError("gone")

    output, stream = BoundedOutput("stdout"), sys.stdout
    with pytest.raises(OSError, match="gone"), output.bounding():
        fail()
    assert sys.stdout is stream
    with output.bounding():
        print("again")
    assert capsys.readouterr().out.endswith("eee\nagain\n")


def test_a_logger_of_the_first_call_is_heard_in_the_second(capsys: pytest.CaptureFixture[str]) -> None:
    output, logger = BoundedOutput("stderr"), logging.Logger("mine")
    with output.bounding():
        logger.addHandler(logging.StreamHandler())
        print("e" * 2 * BEGINNING, file=sys.stderr)
    with output.bounding():
        logger.error("epoch 2")
    assert capsys.readouterr().err.endswith("eee\nepoch 2\n")


def test_a_stream_is_still_asked_about_its_terminal() -> None:
    before = sys.stdout.encoding, sys.stdout.isatty()
    with BoundedOutput("stdout").bounding():
        assert (sys.stdout.encoding, sys.stdout.isatty()) == before
