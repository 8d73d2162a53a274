"""Run a user's program with a timeout and bounded output, and kill all of its processes at the end."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from mnv2search.accuracy import supervisor

# Bytes kept from the end of each stream: enough for the last line and for the reason of a failure.
KEPT_BYTES = 1 << 16
CHUNK = 1 << 16
# Time to read output that another process, such as `tee`, still writes after the program has ended.
DRAIN_S = 0.5
# Time for the supervisor to kill all processes; the supervisor gives up after 3 s.
END_S = 5.0
POLL_S = 0.01
ROUNDS = 100
# The longest single wait; longer ones overflow on some systems.
WAIT_S = 3600.0
# Environment variable of the program and its descendants: PID.START.TOKEN of the process that started it.
MARK = "MNV2SEARCH_PROGRAM_OF"
MARKED = re.compile(r"(?P<pid>[0-9]{1,10})\.(?P<started>[0-9]*)\.[0-9a-f]+")
MOST_ENVIRONMENT = 1 << 20


class Finished(NamedTuple):
    """The result of a program, with the ends of its standard output and standard error.

    `code` is the exit code, the negative number of a signal, or None if the program killed its supervisor.
    """

    code: int | None
    output: str
    errors: str


class ProgramTimeoutError(Exception):
    """The program took too long; `errors` is the end of its standard error."""

    def __init__(self, errors: str) -> None:
        super().__init__(errors)
        self.errors = errors


class _Tail:
    def __init__(self) -> None:
        self._content = bytearray()

    def add(self, chunk: bytes) -> None:
        self._content += chunk
        if len(self._content) > 2 * KEPT_BYTES:
            del self._content[:-KEPT_BYTES]

    def text(self) -> str:
        return bytes(self._content[-KEPT_BYTES:]).decode("utf-8", "replace")


def run_program(words: Sequence[str], *, timeout_s: float, clock: Callable[[], float] = time.monotonic) -> Finished:
    """Run a program without input or shell, and kill every process that it started, including in other sessions.

    After the program ends, its remaining output is read for at most half a second.

    Raises:
        OSError: the program cannot be started.
        ProgramTimeoutError: the program takes longer than `timeout_s`.
    """
    deadline = clock() + timeout_s
    with _supervised(words) as (status, output, errors):
        tails = {stream: _Tail() for stream in (status, output, errors)}
        has_ended = _read(tails, status, deadline=deadline, clock=clock)
    if not has_ended:
        raise ProgramTimeoutError(tails[errors].text())
    what, _, number = tails[status].text().partition(" ")
    if what == "errno":
        raise OSError(int(number), os.strerror(int(number)))
    return Finished(int(number) if what == "exit" else None, tails[output].text(), tails[errors].text())


def end_orphans() -> None:
    """Kill processes that are still running because their supervisor and its parent were both killed (Linux)."""
    _end_marked(lambda mark: not _is_running(mark))


def _read(
    tails: Mapping[IO[bytes], _Tail], status: IO[bytes], *, deadline: float, clock: Callable[[], float]
) -> bool:
    """Read the streams until the program ends or times out; returns whether it has ended."""
    has_ended = False
    with selectors.DefaultSelector() as selector:
        for stream in tails:
            os.set_blocking(stream.fileno(), False)
            selector.register(stream, selectors.EVENT_READ, tails[stream])
        while selector.get_map() and (left_s := deadline - clock()) > 0:
            for key, _ in selector.select(min(left_s, WAIT_S)):
                chunk = os.read(key.fd, CHUNK)
                key.data.add(chunk)
                if not chunk or key.fileobj is status:
                    selector.unregister(key.fileobj)
                if key.fileobj is status:
                    has_ended, deadline = True, min(deadline, clock() + DRAIN_S)
    return has_ended


@contextlib.contextmanager
def _supervised(words: Sequence[str]) -> Iterator[tuple[IO[bytes], IO[bytes], IO[bytes]]]:
    """Yields the status, output and error streams of a supervised program; on exit, all its processes are killed."""
    mark = f"{os.getpid()}.{_started(os.getpid())}.{secrets.token_hex(8)}"
    reader, writer = os.pipe()
    with open(reader, "rb", buffering=0) as status:
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", supervisor.__file__, str(writer), *words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                pass_fds=[writer],
                env={**os.environ, MARK: mark},
                start_new_session=True,
            )
        finally:
            os.close(writer)
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        with process.stdout as output, process.stderr as errors:
            try:
                yield status, output, errors
            finally:
                process.stdin.close()  # makes the supervisor kill everything; also happens if this process is killed
                try:
                    process.wait(END_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                if process.returncode != 0:
                    _end_marked(lambda found: found == mark)


def _end_marked(is_meant: Callable[[str], bool]) -> None:
    """Kill this user's processes with a matching mark, and any that they start in the meantime; needs /proc."""
    empty = 0
    for _ in range(ROUNDS):
        found = [pid for pid, mark in _marked() if is_meant(mark)]
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        empty = 0 if found else empty + 1
        if empty == 2:  # twice, because during exec a process has no environment and so no mark
            return
        time.sleep(POLL_S)


def _marked() -> Iterator[tuple[int, str]]:
    """Running processes of this user that have a mark in their environment, each with its mark."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if folder.stat().st_uid != os.getuid():
                continue
            with (folder / "environ").open("rb") as file:
                variables = file.read(MOST_ENVIRONMENT).split(b"\0")
            found = [value for name, _, value in (v.partition(b"=") for v in variables) if name == MARK.encode()]
            if found and int(folder.name) != os.getpid():
                yield int(folder.name), found[0].decode("utf-8", "replace")


def _is_running(mark: str) -> bool:
    found = MARKED.fullmatch(mark)
    return found is not None and _started(int(found["pid"])) == found["started"]


def _started(pid: int) -> str:
    """Start time of a process in clock ticks, which distinguishes processes that reuse a PID."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19].decode()
    except (OSError, IndexError):
        return ""
