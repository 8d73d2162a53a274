"""The base of transports to a machine with a POSIX shell and a work folder."""

from __future__ import annotations

import re
import secrets
import shlex
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from mnv2search.latency.hosts.types import Completed

COMMAND_S = 60.0
FILE = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*/)?[A-Za-z0-9_][A-Za-z0-9_.-]*")


class ShellTransport(ABC):
    """Copies files into the work folder and runs programs there.

    Shell lines are made of quoted words, and of names that `FILE` matches.

    Args:
        name: the text that opens the transport again.
        work: the work folder.
    """

    def __init__(self, name: str, work: str) -> None:
        self.name = name
        self._work = work
        # another process, or another machine with the same home folder, may write the same file
        self._token = secrets.token_hex(4)

    @abstractmethod
    def _shell(self, line: str, *, timeout_s: float, given: bytes = b"") -> Completed:
        """Run a shell line, with `given` as its standard input where the connection has one."""

    @abstractmethod
    def _copy(self, name: str, content: bytes, *, part: str, then: str) -> None:
        """Copy a file to the name `part`, and run the shell line `then`, which checks its size and renames it.

        Raises:
            HostLostError: the connection broke, or the disk of the machine is full.
        """

    def push(self, files: Mapping[str, bytes]) -> None:
        """Copy files into the work folder, except those that exist there.

        Raises:
            HostLostError: the connection broke, or the disk of the machine is full.
        """
        for name in files:
            if not FILE.fullmatch(name):
                raise ValueError(f"{name!r} is no name for a file on another machine")
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
        """Run a program in the work folder to its end.

        Raises:
            HostLostError: the connection broke, or the program takes longer.
        """
        return self._inside(shlex.join(command), timeout_s=timeout_s)

    def _inside(self, line: str, *, timeout_s: float, given: bytes = b"") -> Completed:
        """Run a shell line in the work folder."""
        return self._shell(f"cd {shlex.quote(self._work)} && {{ {line}; }}", timeout_s=timeout_s, given=given)
