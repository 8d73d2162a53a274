"""Connections to other machines, whatever the protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from mnv2search.errors import DeviceError

# Messages of systems, and of our own transports, about a full disk.
NO_ROOM = ("No space left on device", "Disk quota exceeded", "no space is left", "storage may be full")


class HostLostError(DeviceError):
    """The connection broke, or the machine ended or ran out of space: worth another try."""


class NoRoomError(HostLostError):
    """The disk of the machine is full: worth another try, but not for long."""


def lost(message: str) -> HostLostError:
    """The error for a message of a machine or its connection; a `NoRoomError` if the disk is full."""
    return NoRoomError(message) if any(words in message for words in NO_ROOM) else HostLostError(message)


class Completed(NamedTuple):
    """The exit code and output of a program that ended on the other machine."""

    code: int
    output: str
    errors: str


class Channel(Protocol):
    """A program on the other machine that reads and writes lines; a HostLostError if it has ended."""

    def send(self, line: str) -> None:
        """Write one line to its standard input."""

    def receive(self, *, timeout_s: float) -> str:
        """The next line of its standard output, without the line break; a HostLostError if none comes in time."""

    def complaint(self) -> str:
        """The end of its standard error."""

    def close(self) -> None:
        """End it, if it still runs."""


class Transport(Protocol):
    """A connection to another machine, and a work folder there that stays from run to run.

    A HostLostError says that the connection broke, or that the disk of the machine is full.
    """

    @property
    def name(self) -> str:
        """The text that opens it again, such as ``ssh://pi@board:22``."""

    def connect(self) -> None:
        """Connect, or connect again.

        Raises:
            HostLostError: the machine cannot be reached now.
            DeviceError: it never will be: unknown host key, refused key, no such serial number.
        """

    def push(self, files: Mapping[str, bytes]) -> None:
        """Copy files into the work folder, except those that exist there.

        A name contains a hash of the content, so that equal names mean equal contents; it has at most one slash, and
        otherwise only letters, digits, dots, dashes and underscores.
        """

    def start(self, command: Sequence[str]) -> Channel:
        """Start a program in the work folder; its arguments may contain any characters."""

    def run(self, command: Sequence[str], *, timeout_s: float) -> Completed:
        """Run a program in the work folder to its end; a HostLostError if it takes longer."""

    def close(self) -> None:
        """Disconnect."""
