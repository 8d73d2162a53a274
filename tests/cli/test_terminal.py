"""A search in a terminal whose function prints more than a terminal can show."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from mnv2search.cli.printed_lines import LONGEST
from mnv2search.results.records import read_records

TRIALS, LINES = 2, 100
FUNCTION = f"""
def accuracy(spec, seed):
    print("epoch 1")
    for _ in range({LINES}):
        print("e" * (1 << 20))
    return 0.5
"""


def output_of(terminal: int) -> Iterator[bytes]:
    """What a program writes to a pseudo-terminal until it ends."""
    with contextlib.suppress(OSError):  # the end of a pseudo-terminal
        yield from iter(lambda: os.read(terminal, 1 << 16), b"")


def test_a_function_that_prints_100_mb_does_not_hold_a_search_up(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FUNCTION)
    words = [sys.executable, "-m", "mnv2search", "run", "--latency-ms", "5", "--device", "simulated"]
    words += ["--space", "mnv2-multipliers", "--trials", str(TRIALS), "--name", "run", "--no-confirm"]
    words += ["--accuracy", f"python:{tmp_path}/mine.py:accuracy", "--output-dir", str(tmp_path)]
    terminal, end = pty.openpty()
    with subprocess.Popen(words, stdin=end, stdout=end, stderr=end, env={**os.environ, "COLUMNS": "120"}) as process:
        os.close(end)
        shown = b"".join(output_of(terminal))
    os.close(terminal)
    rated = [record for record in read_records(tmp_path / "run") if record.evaluation.accuracy is not None]
    assert process.returncode == 0, shown[-4000:]
    assert b"epoch 1\r\n" in shown
    assert len(rated) >= TRIALS
    assert len(shown) < len(rated) * LINES * 2 * LONGEST
