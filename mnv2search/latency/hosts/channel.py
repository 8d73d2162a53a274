"""The lines that a program on another machine writes, received with time limits."""

from __future__ import annotations

import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable

from mnv2search.latency.hosts.types import HostLostError


class LineChannel(ABC):
    """A channel whose lines a thread of its own reads.

    Args:
        name: of the machine, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)

    @abstractmethod
    def _received(self) -> Iterable[str]:
        """The lines, until the program ends; an OSError or a ValueError ends them too."""

    def _reason(self) -> str:
        """The reason why the connection broke, if the program gave one."""
        return ""

    def receive(self, *, timeout_s: float) -> str:
        """The next line.

        Raises:
            HostLostError: the program ended, or wrote nothing in time.
        """
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
