"""A program of this machine that is the other end's standard streams: lines in, lines out, with time limits."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from mnv2search.latency.hosts.channel import LineChannel
from mnv2search.latency.hosts.types import HostLostError

# Of what the program wrote to its standard error.
KEPT_LINES = 20
END_S = 3.0


class ProgramChannel(LineChannel):
    """A channel over a local program, such as ``ssh``, that runs in a session of its own.

    Ctrl-C on the terminal therefore reaches us and not the program, which is ended by closing its input.

    Args:
        command: the program and its words.
        name: of the machine, for messages.
        environment: of the program; None takes ours.
    """

    def __init__(self, command: Sequence[str], *, name: str, environment: Mapping[str, str] | None = None) -> None:
        super().__init__(name)
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
        self._complaints: deque[str] = deque(maxlen=KEPT_LINES)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()
        self._listener.start()

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
            raise HostLostError(f"the connection to {self._name} broke ({self.complaint() or error})") from error

    def complaint(self) -> str:
        """The end of what the program wrote to its standard error."""
        self._listener.join(timeout=END_S)
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
        for reader in (self._reader, self._listener):
            reader.join(timeout=END_S)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _reason(self) -> str:
        return self.complaint() or "it was closed"

    def _received(self) -> Iterator[str]:
        assert self._process.stdout is not None
        yield from (line.rstrip("\n") for line in self._process.stdout)

    def _listen(self) -> None:
        assert self._process.stderr is not None
        with contextlib.suppress(ValueError, OSError):
            for line in self._process.stderr:
                if text := line.strip():
                    self._complaints.append(text)
