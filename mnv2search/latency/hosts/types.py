"""What a connection to another machine can do, whatever it goes over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from mnv2search.errors import DeviceError

__all__ = ["Channel", "Completed", "HostLostError", "NoRoomError", "Transport", "lost"]

# What systems, and our own transports, say of a full disk.
NO_ROOM = ("No space left on device", "Disk quota exceeded", "no space is left", "storage may be full")


class HostLostError(DeviceError):
    """The connection broke, the machine went away or ran out of space: worth another try."""


class NoRoomError(HostLostError):
    """The disk of the machine is full: worth another try, but not for long."""


def lost(message: str) -> HostLostError:
    """The error for what a machine or its connection said; of its own kind where that is a full disk."""
    return NoRoomError(message) if any(words in message for words in NO_ROOM) else HostLostError(message)


class Completed(NamedTuple):
    """What a program on the other machine said before it ended."""

    code: int
    output: str
    errors: str


class Channel(Protocol):
    """A program that runs on the other machine and talks in lines."""

    def send(self, line: str) -> None:
        """Write one line to its standard input.

        Raises:
            HostLostError: it is gone.
        """
        ...

    def receive(self, *, timeout_s: float) -> str:
        """The next line of its standard output, without the line's end.

        Raises:
            HostLostError: it is gone, or says nothing in time.
        """
        ...

    def complaint(self) -> str:
        """The end of what it wrote to its standard error."""
        ...

    def close(self) -> None:
        """End it; nothing happens where it has ended."""
        ...


class Transport(Protocol):
    """A connection to another machine and a work folder there that stays from run to run."""

    @property
    def name(self) -> str:
        """The text that opens it again, such as ``ssh://pi@board:22``."""
        ...

    def connect(self) -> None:
        """Connect, or connect again.

        Raises:
            HostLostError: it cannot be reached now.
            DeviceError: it never will be: unknown host key, refused key, no such serial number.
        """
        ...

    def push(self, files: Mapping[str, bytes]) -> None:
        """Copy files into the work folder, but those that are there already.

        Args:
            files: content by name; a name holds a hash of the content, so that equal names mean equal contents. It
                may hold one slash, and only letters, digits, dots, dashes and underscores besides.

        Raises:
            HostLostError: the connection broke, or the disk over there is full.
        """
        ...

    def start(self, command: Sequence[str]) -> Channel:
        """Start a program in the work folder.

        Args:
            command: its words; they reach the program as they are, whatever characters they hold.
        """
        ...

    def run(self, command: Sequence[str], *, timeout_s: float) -> Completed:
        """Run a program in the work folder to its end.

        Raises:
            HostLostError: the connection broke, or it takes longer.
        """
        ...

    def close(self) -> None:
        """Disconnect."""
        ...
