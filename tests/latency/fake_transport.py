"""A transport to a machine that is not there."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["FakeTransport"]


class FakeTransport:
    """Counts connections and ends, and keeps the names of the files that it is given."""

    def __init__(self) -> None:
        self.pushed: list[str] = []
        self.connected = 0
        self.closed = 0

    def connect(self) -> None:
        self.connected += 1

    def push(self, files: Mapping[str, bytes]) -> None:
        self.pushed += files

    def close(self) -> None:
        self.closed += 1
