"""Worker processes of a disturbed search: forked in advance instead of started, found, and waited for."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from fault_runs import work_and_exit

from mnv2search.cli.main import main as command_line

POLL_S = 0.02
# Source: Linux, include/uapi/linux/prctl.h.
PR_SET_CHILD_SUBREAPER = 36


class ForkedProcess:
    """Takes the place of `subprocess.Popen` for workers: a process that was forked before the search began.

    It has loaded all imports, so that a worker does not need a second of CPU time to start.
    """

    waiting: ClassVar[list[tuple[int, int]]] = []

    @classmethod
    def fork(cls, count: int) -> None:
        """Fork processes that wait for a command line; they end if this process ends first."""
        for _ in range(count):
            reader, writer = os.pipe()
            if (pid := os.fork()) == 0:
                os.setsid()
                for _, other in (*cls.waiting, (0, writer)):
                    os.close(other)
                _wait_and_work(reader)
            os.close(reader)
            cls.waiting.append((pid, writer))

    def __init__(self, words: Sequence[str], *, env: Mapping[str, str], **_: object) -> None:
        self.pid, writer = self.waiting.pop()
        self._words, self.returncode = words, None
        with contextlib.suppress(BrokenPipeError), open(writer, "w") as line:  # it may have been killed
            line.write(json.dumps([words[words.index("mnv2search") :], dict(env)]))

    returncode: int | None

    def poll(self) -> int | None:
        """The exit code, or None while the process runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Wait for the end of the process; returns its exit code."""
        ends = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() >= ends:
                raise subprocess.TimeoutExpired(self._words, timeout)
            time.sleep(POLL_S)
        return code

    def terminate(self) -> None:
        """Send SIGTERM."""
        os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)


class ForkingSubprocess:
    """Takes the place of the module `subprocess` where workers are started."""

    Popen = ForkedProcess
    DEVNULL = subprocess.DEVNULL
    TimeoutExpired = subprocess.TimeoutExpired


def _wait_and_work(reader: int) -> None:
    """Wait for a command line, and run it; never returns."""
    with open(reader) as line:
        told = line.read()
    if not told:
        os._exit(0)
    words, environment = json.loads(told)
    os.environ.update(environment)
    sys.argv = words
    signal.signal(signal.SIGINT, signal.default_int_handler)
    work_and_exit(command_line, 2)


def start_worker(root: Path, name: str, url: str, number: int) -> int:
    """Fork a worker that joins a run; its output goes to a file. Returns its PID."""
    if (pid := os.fork()) == 0:
        os.setsid()
        sys.argv = ["mnv2search", "worker", name, "--storage", url, "--trust"]
        sys.path.insert(0, str(root / "plugin"))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        work_and_exit(command_line, os.open(root / f"worker-{number}.log", os.O_WRONLY | os.O_CREAT))
    return pid


def adopt_orphans() -> None:
    """Become the parent of processes whose parent ends, so that they can be found and waited for."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children_of(pid: int) -> list[int]:
    """PIDs of the running children of a process."""
    try:
        found = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return [child for child in found if _state(child) not in ("", "Z")]
    except OSError:
        return []


def wait_for_children(but: Collection[int], *, patience_s: float) -> list[int]:
    """Wait until all children except some have ended; kills those left after a time, and returns their PIDs."""
    ends = time.monotonic() + patience_s
    while (left := _ended_apart(but)) and time.monotonic() < ends:
        time.sleep(POLL_S)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return left


def _ended_apart(but: Collection[int]) -> list[int]:
    """Reap ended children except some; returns the running ones."""
    own = os.getpid()
    found = Path(f"/proc/{own}/task/{own}/children").read_text().split()
    left = [pid for pid in map(int, found) if pid not in but]
    return [pid for pid in left if os.waitpid(pid, os.WNOHANG)[0] == 0]


def _state(pid: int) -> str:
    """The state of a process, such as R, S or Z; empty if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""
