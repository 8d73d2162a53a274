"""Ctrl-C and SIGTERM, once and twice, in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

WAIT_S = 600.0
# A function that says when it is called, and then waits, or catches every exception and waits on.
WAITS = """
import time
from pathlib import Path
def accuracy(spec, seed):
    Path("called").touch()
    time.sleep(999)
"""
CATCHES = """
import time
from pathlib import Path
def accuracy(spec, seed):
    while True:
        try:
            Path("called").touch()
            time.sleep(999)
        except BaseException:
            Path("caught").touch()
"""


def search_in(folder: Path, function: str) -> subprocess.Popen[str]:
    """A search whose evaluator has been called."""
    (folder / "function.py").write_text(function, encoding="utf-8")
    words = ["run", "--latency-ms", "5", "--trials", "13", "--space", "mnv2-multipliers", "--device", "simulated"]
    command = [
        sys.executable,
        "-m",
        "mnv2search",
        *words,
        "--accuracy",
        "python:function.py:accuracy",
        "--name",
        "it",
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True, env=environment)
    wait_for(folder / "called", process)
    return process


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a file exists."""
    while not path.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_keeps_what_is_finished_and_says_how_to_resume(
    number: signal.Signals, tmp_path: Path
) -> None:
    with search_in(tmp_path, WAITS) as process:
        process.send_signal(number)
        _, said = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    assert "to resume: mnv2search run --resume it" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_a_function_that_catches_the_first(number: signal.Signals, tmp_path: Path) -> None:
    with search_in(tmp_path, CATCHES) as process:
        process.send_signal(number)
        wait_for(tmp_path / "caught", process)
        process.send_signal(number)
        process.communicate(timeout=WAIT_S)
    assert process.returncode == -number


def test_an_ignored_signal_stays_ignored() -> None:
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from mnv2search.cli.interruption import interruptible\n"
        "with interruptible():\n    signal.raise_signal(signal.SIGINT)\n"
        "assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_an_interruption_that_a_destructor_loses_is_repeated() -> None:
    code = """
import signal, time
from mnv2search.cli.interruption import interruptible
class Closing:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)
try:
    with interruptible():
        Closing()
        time.sleep(600)
except KeyboardInterrupt:
    print("interrupted")
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("interrupted\n", "")
