"""A double of the daemon on an Android device: the adb wire protocol over TCP, its commands run in a folder of ours.

It knows what the tests need: connecting, ``shell:``, ``exec:`` and ``sync:`` (STAT, SEND). Source: Android,
packages/modules/adb, protocol.txt and SYNC.TXT.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

VERSION = 0x01000000
MOST_BYTES = 4096
BANNER = b"device::ro.product.name=double;ro.product.model=Double;ro.product.device=double;features=cmd"
HEADER = struct.Struct("<6I")


def command_of(text: bytes) -> int:
    return int.from_bytes(text, "little")


CNXN, OPEN, OKAY, CLSE, WRTE, AUTH = (command_of(c) for c in (b"CNXN", b"OPEN", b"OKAY", b"CLSE", b"WRTE", b"AUTH"))
# Kinds of AUTH; after its public key the computer waits until the owner has answered.
TOKEN, SIGNATURE = 1, 2


@dataclass
class Daemon:
    """Listens on the loopback address until stopped.

    Attributes:
        allows: whether this computer may connect; if not, it is asked for a signature again and again.
        full: whether the storage takes no file.
        commands: what was asked to run.
    """

    allows: bool = True
    full: bool = False
    commands: list[str] = field(default_factory=list)
    port: int = 0
    _listener: socket.socket | None = None
    _links: list[_Link] = field(default_factory=list)

    @property
    def serial(self) -> str:
        """As adb names it."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen, on the same port as before."""
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", self.port))
        self._listener.listen()
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        """As when it is unplugged."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        for link in self._links:
            link.close()
        self._links.clear()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                link = _Link(connection, self)
                self._links.append(link)
                threading.Thread(target=link.serve, daemon=True).start()


class _Link:
    """One connection of a server."""

    def __init__(self, connection: socket.socket, daemon: Daemon) -> None:
        self._connection, self._daemon = connection, daemon
        self._lock = threading.Lock()
        self._streams: dict[int, _Stream] = {}
        self._last = 0

    def send(self, command: int, first: int, second: int, data: bytes = b"") -> None:
        """One message."""
        header = HEADER.pack(command, first, second, len(data), sum(data) & 0xFFFFFFFF, command ^ 0xFFFFFFFF)
        with self._lock, contextlib.suppress(OSError):
            self._connection.sendall(header + data)

    def serve(self) -> None:
        """Answer until the connection ends."""
        with contextlib.suppress(OSError, EOFError):
            while True:
                command, first, second, size, _, _ = HEADER.unpack(self._exactly(HEADER.size))
                self._take(command, first, second, self._exactly(size))
        self.close()

    def close(self) -> None:
        """End every stream."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()
        for stream in list(self._streams.values()):
            stream.end()

    def forget(self, local: int) -> None:
        """A stream is over."""
        self._streams.pop(local, None)

    def _take(self, command: int, first: int, second: int, data: bytes) -> None:
        if command in (CNXN, AUTH):
            if self._daemon.allows:
                self.send(CNXN, VERSION, MOST_BYTES, BANNER)
            elif command == CNXN or first == SIGNATURE:
                self.send(AUTH, TOKEN, 0, bytes(20))
        elif command == OPEN:
            self._last += 1
            service = data.rstrip(b"\0").decode()
            kind: type[_Stream] = _Sync if service.startswith("sync:") else _Program
            stream = kind(self, self._last, first, service, self._daemon)
            self._streams[self._last] = stream
            self.send(OKAY, self._last, first)
            stream.begin()
        elif second in self._streams:
            stream = self._streams[second]
            if command == WRTE:
                self.send(OKAY, second, first)
                stream.take(data)
            elif command == OKAY:
                stream.ready.set()
            elif command == CLSE:
                stream.end()

    def _exactly(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            chunk = self._connection.recv(size - len(found))
            if not chunk:
                raise EOFError
            found += chunk
        return found


class _Stream:
    """One service that was opened."""

    def __init__(self, link: _Link, local: int, remote: int, service: str, daemon: Daemon) -> None:
        self.link, self.local, self.remote, self.service, self.daemon = link, local, remote, service, daemon
        self.ready = threading.Event()
        self.ready.set()

    def begin(self) -> None:
        """Start."""

    def take(self, data: bytes) -> None:
        """Bytes have come."""

    def end(self) -> None:
        """The other side is done."""
        self.link.forget(self.local)

    def write(self, data: bytes) -> None:
        """Send bytes, one message at a time as the protocol asks."""
        for start in range(0, len(data), MOST_BYTES):
            if not self.ready.wait(600):
                return
            self.ready.clear()
            self.link.send(WRTE, self.local, self.remote, data[start : start + MOST_BYTES])


class _Program(_Stream):
    """``shell:`` and ``exec:``."""

    process: subprocess.Popen[bytes]

    def begin(self) -> None:
        kind, _, line = self.service.partition(":")
        self.daemon.commands.append(line)
        self.process = subprocess.Popen(
            ["sh", "-c", line],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if kind == "shell" else subprocess.DEVNULL,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def take(self, data: bytes) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.write(data)
            self.process.stdin.flush()

    def end(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.ready.set()
        super().end()

    def _read(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdin is not None
        with self.process.stdout as output:
            while chunk := os.read(output.fileno(), MOST_BYTES):
                self.write(chunk)
        self.process.wait()
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.ready.wait(600)
        self.link.send(CLSE, self.local, self.remote)
        self.link.forget(self.local)


class _Sync(_Stream):
    """``sync:``: whether a file is there, and taking one."""

    def begin(self) -> None:
        self._given = b""
        self._path = ""
        self._content: list[bytes] = []

    def take(self, data: bytes) -> None:
        self._given += data
        while len(self._given) >= 8:
            kind, size = self._given[:4], int.from_bytes(self._given[4:8], "little")
            whole = 8 if kind == b"DONE" else 8 + size
            if len(self._given) < whole:
                return
            body, self._given = self._given[8:whole], self._given[whole:]
            self._answer(kind, body)

    def _answer(self, kind: bytes, body: bytes) -> None:
        if kind == b"STAT":
            path = Path(body.decode())
            there = path.stat() if path.exists() else None
            sizes = (there.st_mode, there.st_size, int(there.st_mtime)) if there else (0, 0, 0)
            self.write(b"STAT" + struct.pack("<3I", *sizes))
        elif kind == b"SEND":
            self._path = body.decode().rpartition(",")[0]
        elif kind == b"DATA":
            self._content.append(body)
        elif kind == b"DONE" and self.daemon.full:
            why = b"couldn't write file: No space left on device"
            self.write(b"FAIL" + struct.pack("<I", len(why)) + why)
        elif kind == b"DONE":
            Path(self._path).write_bytes(b"".join(self._content))
            self._content.clear()
            self.write(b"OKAY" + struct.pack("<I", 0))


def free_port() -> int:
    """A port that nothing listens on."""
    with closing(socket.socket()) as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def adb_server() -> Iterator[str]:
    """A real adb server of its own, ``host:port``; ended afterwards."""
    pytest.importorskip("adbutils", reason="adbutils is not installed")
    from adbutils._utils import adb_path

    if shutil.which("adb") is None and not Path(adb_path()).exists():
        pytest.skip("there is no adb program")
    port = free_port()
    words = [adb_path(), "-P", str(port)]
    subprocess.run([*words, "start-server"], check=True, capture_output=True, timeout=600)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        subprocess.run([*words, "kill-server"], check=True, capture_output=True, timeout=600)
