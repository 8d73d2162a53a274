"""Hostile programs and functions as evaluators: some of those that the fuzzer goes through, and kills of ours."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mnv2search.accuracy.program import MARK, end_orphans

ROOT = Path(__file__).parents[2]
FUZZER = [sys.executable, str(ROOT / "benchmarks" / "fuzz_evaluators.py"), "--timeout-s", "0.5"]
Start = Callable[..., "subprocess.Popen[bytes]"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found by /proc")
KINDS = (
    *("in a session", "floods output", "without environment", "a daemon", "hops", "stops its parent"),
    *("kills its parent", "400 digits", "deep", "closes its output", "function: exits", "module: no"),
)


@pytest.fixture
def started() -> Iterator[Start]:
    """Starts programs, and ends them whatever becomes of the test."""
    with ExitStack() as stack:

        def start(*words: str, mark: str = "") -> subprocess.Popen[bytes]:
            process = stack.enter_context(subprocess.Popen(words, env={**os.environ, MARK: mark}))
            stack.callback(process.kill)
            while not Path(f"/proc/{process.pid}/environ").read_bytes():
                time.sleep(0.001)  # it has not got its memory yet
            return process

        yield start


@pytest.mark.parametrize("kinds", KINDS)
def test_nothing_hangs_fills_memory_ends_in_a_traceback_or_is_left(kinds: str) -> None:
    done = subprocess.run([*FUZZER, "--kinds", kinds], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert not done.stdout.startswith("0 kinds")


def test_the_fuzzer_notices_a_process_that_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: Start
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import fuzz_evaluators

    (tmp_path / "sleeper").symlink_to("/bin/sleep")
    process = started(str(tmp_path / "sleeper"), "999")
    assert fuzz_evaluators.running_in(tmp_path) == [process.pid]


def test_a_program_ends_when_the_process_that_asked_for_it_is_killed(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    inner = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(999)"
    outer = f"""
import os, signal, sys, threading, time
from mnv2search.accuracy.program import run_program
def kill():
    while not (os.path.exists({str(pid)!r}) and os.path.getsize({str(pid)!r})):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)
threading.Thread(target=kill).start()
run_program([sys.executable, "-S", "-c", {inner!r}], timeout_s=60)
"""
    done = subprocess.run([sys.executable, "-c", outer], env=ENVIRONMENT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert has_ended(int(pid.read_text()))


@pytest.mark.parametrize(
    ("owner", "ends"),
    [("999999999.1.00", True), (f"{os.getpid()}.1.00", True), ("no mark", True), ("{here}.00", False)],
    ids=["gone", "number used again", "not ours", "running"],
)
def test_what_killed_processes_left_is_ended_by_the_next(owner: str, ends: bool, started: Start) -> None:
    here = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()[19].decode()
    process = started("sleep", "999", mark=owner.format(here=f"{os.getpid()}.{here}"))
    end_orphans()
    assert has_ended(process.pid, patience_s=10.0 if ends else 0.5) == ends


def has_ended(pid: int, *, patience_s: float = 10.0) -> bool:
    """Whether a process has ended, or does so in time."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], patience_s)[0])
    finally:
        os.close(handle)
