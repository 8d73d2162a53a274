"""Base classes of transports to a machine with a POSIX shell and a work folder, and of programs there."""

from __future__ import annotations

import queue
import re
import secrets
import shlex
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence

from mnv2search.latency.hosts.types import Completed, HostLostError

COMMAND_S = 60.0
FILE = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*/)?[A-Za-z0-9_][A-Za-z0-9_.-]*")


class ShellTransport(ABC):
    """A transport that copies files into the work folder and runs programs there.

    Shell lines consist of quoted words and of names that match `FILE`. The `name` opens the transport again.
    """

    def __init__(self, name: str, work: str) -> None:
        self.name = name
        self._work = work
        # another process, or another machine with the same home folder, may write the same file
        self._token = secrets.token_hex(4)

    @abstractmethod
    def _shell(self, line: str, *, timeout_s: float, given: bytes = b"") -> Completed:
        """Run a shell line, with `given` as its standard input if the connection supports one."""

    @abstractmethod
    def _copy(self, name: str, content: bytes, *, part: str, then: str) -> None:
        """Copy a file to the name `part` and run the shell line `then`, which checks its size and renames it."""

    def push(self, files: Mapping[str, bytes]) -> None:
        """Copy files into the work folder, except files that already exist there."""
        for name in files:
            if not FILE.fullmatch(name):
                raise ValueError(f"{name!r} is not a valid name for a file on another machine")
        names = shlex.join(files)
        folders = shlex.join({name.rpartition("/")[0] for name in files} - {""})
        mkdir = f"mkdir -p {folders}; " if folders else ""
        listed = self._inside(f"{mkdir}for f in {names}; do [ -f $f ] && echo $f; done; true", timeout_s=COMMAND_S)
        existing = set(listed.output.split())
        for name, content in files.items():
            if name not in existing:
                part = f"{name}.{self._token}.part"
                size = f'[ "$(wc -c < {part})" -eq {len(content)} ]'
                self._copy(
                    name, content, part=part, then=f"{size} && mv {part} {name} || {{ rm -f {part}; exit 1; }}"
                )

    def run(self, command: Sequence[str], *, timeout_s: float) -> Completed:
        """Run a program in the work folder to its end."""
        return self._inside(shlex.join(command), timeout_s=timeout_s)

    def _inside(self, line: str, *, timeout_s: float, given: bytes = b"") -> Completed:
        return self._shell(f"cd {shlex.quote(self._work)} && {{ {line}; }}", timeout_s=timeout_s, given=given)


class LineChannel(ABC):
    """A channel to a program on the machine `name`; a separate thread reads the program's lines."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)

    @abstractmethod
    def _received(self) -> Iterable[str]:
        """The lines, until the program ends or reading raises an OSError or a ValueError."""

    def _reason(self) -> str:
        """The reason why the connection broke, if the program gave one."""
        return ""

    def receive(self, *, timeout_s: float) -> str:
        """The next line."""
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            raise HostLostError(f"{self._name} has said nothing for {timeout_s:.0f} s") from None
        if line is None:
            self._lines.put(None)
            reason = self._reason()
            raise HostLostError(f"the connection to {self._name} broke{f' ({reason})' if reason else ''}")
        return line

    def _read(self) -> None:
        try:
            for line in self._received():
                self._lines.put(line)
        except (OSError, ValueError):
            pass
        finally:
            self._lines.put(None)
