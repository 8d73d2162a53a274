"""A program of this machine that is the other end's standard streams: lines in, lines out, with time limits."""

from __future__ import annotations

import contextlib
import queue
import subprocess
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import IO

from mnv2search.latency.hosts.types import HostLostError

__all__ = ["ProgramChannel"]

# Of what the program wrote to its standard error.
KEPT_LINES = 20
END_S = 3.0


class ProgramChannel:
    """A channel over a local program, such as ``ssh``, that runs in a session of its own.

    Ctrl-C on the terminal therefore reaches us and not the program, which is ended by closing its input.

    Args:
        command: the program and its words.
        name: of the machine, for messages.
        environment: of the program; None takes ours.
    """

    def __init__(self, command: Sequence[str], *, name: str, environment: Mapping[str, str] | None = None) -> None:
        self._name = name
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=environment,
            start_new_session=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._complaints: deque[str] = deque(maxlen=KEPT_LINES)
        self._readers = [
            threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True),
            threading.Thread(target=self._listen, args=(self._process.stderr,), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def send(self, line: str) -> None:
        """Write one line.

        Raises:
            HostLostError: the program is gone.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except (OSError, ValueError) as error:
            raise HostLostError(f"the connection to {self._name} broke ({self._why(str(error))})") from error

    def receive(self, *, timeout_s: float) -> str:
        """The next line.

        Raises:
            HostLostError: the program is gone, or says nothing in time.
        """
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            raise HostLostError(f"{self._name} has said nothing for {timeout_s:.0f} s") from None
        if line is None:
            self._lines.put(None)
            raise HostLostError(f"the connection to {self._name} broke ({self._why('it was closed')})")
        return line

    def complaint(self) -> str:
        """The end of what the program wrote to its standard error."""
        self._readers[1].join(timeout=END_S)
        return " / ".join(self._complaints)

    def close(self) -> None:
        """Close its input, and end it where that does not."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for reader in self._readers:
            reader.join(timeout=END_S)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _why(self, otherwise: str) -> str:
        return self.complaint() or otherwise

    def _read(self, stream: IO[str]) -> None:
        with contextlib.suppress(ValueError, OSError):
            for line in stream:
                self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def _listen(self, stream: IO[str]) -> None:
        with contextlib.suppress(ValueError, OSError):
            for line in stream:
                if text := line.strip():
                    self._complaints.append(text)
