"""Protocols and errors of connections to other machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from mnv2search.errors import DeviceError

# Messages about a full disk, of systems and of our transports.
NO_ROOM = ("No space left on device", "Disk quota exceeded", "no space is left", "storage may be full")


class HostLostError(DeviceError):
    """The connection broke, or the machine shut down or ran out of space; a retry can succeed."""


class NoRoomError(HostLostError):
    """The disk of the machine is full; a retry can succeed, but only for a short time."""


def lost(message: str) -> HostLostError:
    """The error for a message of a machine or of its connection; a `NoRoomError` if the disk is full."""
    return NoRoomError(message) if any(words in message for words in NO_ROOM) else HostLostError(message)


class Completed(NamedTuple):
    """The exit code and output of a finished program on the other machine."""

    code: int
    output: str
    errors: str


class Channel(Protocol):
    """A program on the other machine that reads and writes lines; methods raise a HostLostError if it has ended."""

    def send(self, line: str) -> None:
        """Write one line to its standard input."""

    def receive(self, *, timeout_s: float) -> str:
        """The next line of its standard output, without the line break; a HostLostError after the time limit."""

    def complaint(self) -> str:
        """The end of its standard error."""

    def close(self) -> None:
        """End the program if it still runs."""


class Transport(Protocol):
    """A connection to another machine, with a work folder that persists from run to run.

    A HostLostError means that the connection broke, or that the disk of the machine is full.
    """

    @property
    def name(self) -> str:
        """The text that opens the transport again, such as ``ssh://pi@board:22``."""

    def connect(self) -> None:
        """Connect, or connect again.

        Raises:
            HostLostError: the machine cannot be reached at present.
            DeviceError: the machine cannot be reached at all: unknown host key, refused key, unknown serial number.
        """

    def push(self, files: Mapping[str, bytes]) -> None:
        """Copy files into the work folder, except files that already exist there.

        A name contains a hash of the content, so that equal names mean equal contents. Names consist of letters,
        digits, dots, dashes and underscores, with at most one slash.
        """

    def start(self, command: Sequence[str]) -> Channel:
        """Start a program in the work folder; its arguments may contain any characters."""

    def run(self, command: Sequence[str], *, timeout_s: float) -> Completed:
        """Run a program in the work folder to its end; a HostLostError after the time limit."""

    def close(self) -> None:
        """Disconnect."""
