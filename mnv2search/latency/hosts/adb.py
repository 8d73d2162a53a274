"""An Android device over the user's adb server, so that the cable stays shared with everything else that uses it.

The library is adbutils: it speaks to the server as the ``adb`` program does, brings a server along where none is
installed, and is kept up. adb-shell, which speaks the wire protocol itself, would have to take the cable for itself.
"""

from __future__ import annotations

import contextlib
import queue
import re
import secrets
import shlex
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mnv2search.errors import DeviceError, MissingExtraError, OptionError
from mnv2search.latency.hosts.types import Completed, HostLostError, lost

__all__ = ["AdbChannel", "AdbTransport"]

# The folder of an Android device that the shell user may write to and run programs from.
WORK = "/data/local/tmp/mnv2search"
COMMAND_S = 60.0
CONNECT_S = 10.0
# States that a device is in for a moment while it connects.
PASSING = frozenset({"connecting", "authorizing", "offline"})
SETTLE_S = 3.0
CHUNK = 1 << 16
SERIAL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*")
FILE = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*/)?[A-Za-z0-9_][A-Za-z0-9_.-]*")
COMPLAINT = "runner.err"


class AdbTransport:
    """A device by its serial number, or by ``host:port`` where it listens on the network.

    Args:
        serial: as ``adb devices`` lists it, or ``host:port``.
        work: folder over there.
        server: ``host:port`` of the adb server; empty takes adb's own default.

    Raises:
        OptionError: the serial number is none.
        MissingExtraError: adbutils is not installed.
    """

    def __init__(self, serial: str, *, work: str = WORK, server: str = "") -> None:
        if not SERIAL.fullmatch(serial):
            raise OptionError(f"adb://{serial} names no device", hint="write adb://SERIAL or adb://host:port")
        try:
            import adbutils
        except ImportError as error:
            raise MissingExtraError(feature="a device over adb", package="adbutils", extra="adb") from error
        host, _, port = server.partition(":")
        if server and not port.isdigit():
            raise OptionError(f"adb server is {server!r}", hint="write host:port, such as 127.0.0.1:5037")
        self._client: Any = adbutils.AdbClient(host, int(port)) if server else adbutils.AdbClient()
        self._serial, self._work = serial, work
        self._token = secrets.token_hex(4)  # another process may send the same file to the same device
        self._device: Any = None
        self.name = f"adb://{serial}"

    def connect(self) -> None:
        """Connect, or connect again, and make the work folder.

        Raises:
            HostLostError: it is not attached, or does not answer.
            DeviceError: it has not been allowed on the device itself.
        """
        with self._failing("cannot be reached"):
            if ":" in self._serial:
                self._client.connect(self._serial, timeout=CONNECT_S)
            attached = self._attached()
            ends = time.monotonic() + SETTLE_S
            while attached.get(self._serial, "") in PASSING and time.monotonic() < ends:
                time.sleep(0.1)
                attached = self._attached()
            state = attached.get(self._serial, "")
        if state in ("unauthorized", "authorizing"):
            raise DeviceError(f"{self.name} does not allow this computer", hint="accept the question on its screen")
        if state != "device":
            others = ", ".join(sorted(attached.keys() - {self._serial})) or "none"
            raise HostLostError(f"{self.name} is {state or 'not attached'} (other devices: {others})")
        self._device = self._client.device(self._serial)
        made = self._shell(f"mkdir -p {shlex.quote(self._work)}", inside=False, timeout_s=COMMAND_S)
        if made.code != 0:
            raise HostLostError(f"{self.name}: the folder {self._work} cannot be made: {made.output.strip()}")

    def push(self, files: Mapping[str, bytes]) -> None:
        """Copy files into the work folder, but those that are there already.

        Raises:
            HostLostError: the connection broke, or the storage over there is full.
        """
        for name in files:
            if not FILE.fullmatch(name):
                raise ValueError(f"{name!r} is no name for a file on another machine")
        quoted = " ".join(shlex.quote(name) for name in files)
        listed = self._shell(f"for f in {quoted}; do [ -f $f ] && echo $f; done; true", timeout_s=COMMAND_S)
        there = set(listed.output.split())
        for name, content in files.items():
            if name not in there:
                self._copy(name, content)

    def start(self, command: Sequence[str]) -> AdbChannel:
        """Start a program in the work folder."""
        line = f"cd {shlex.quote(self._work)} && exec {shlex.join(command)} 2>{COMPLAINT}"
        with self._failing("cannot start a program"):
            connection = self._device.open_transport(timeout=None)
            connection.send_command(f"exec:{line}")
            connection.check_okay()
        return AdbChannel(connection, self)

    def run(self, command: Sequence[str], *, timeout_s: float) -> Completed:
        """Run a program in the work folder to its end; what it writes to either stream is its output.

        Raises:
            HostLostError: the connection broke, or it takes longer.
        """
        return self._shell(shlex.join(command), timeout_s=timeout_s)

    def complaint(self) -> str:
        """What the last started program wrote to its standard error."""
        try:
            return self._shell(f"tail -n 20 {COMPLAINT}", timeout_s=COMMAND_S).output.strip().replace("\n", " / ")
        except HostLostError:
            return ""

    def close(self) -> None:
        """Forget the device; the server keeps its connection, which others may use."""
        self._device = None

    def _attached(self) -> dict[str, str]:
        """The state of each attached device by its serial number."""
        return {info.serial: info.state for info in self._client.list(extended=False)}

    def _copy(self, name: str, content: bytes) -> None:
        folder, slash, _ = name.rpartition("/")
        if slash:
            self._shell(f"mkdir -p {shlex.quote(folder)}", timeout_s=COMMAND_S)
        with self._failing(f"does not take {name}"):
            self._device.sync.push(content, f"{self._work}/{name}.{self._token}.part")
        final, part = shlex.quote(name), shlex.quote(f"{name}.{self._token}.part")
        size = f'[ "$(wc -c < {part})" -eq {len(content)} ]'
        done = self._shell(f"{size} && mv {part} {final} || {{ rm -f {part}; exit 1; }}", timeout_s=COMMAND_S)
        if done.code != 0:
            raise lost(f"{name} did not arrive whole on {self.name}; its storage may be full")

    def _shell(self, line: str, *, timeout_s: float, inside: bool = True) -> Completed:
        """Run a shell line over there, made of quoted words only."""
        line = f"cd {shlex.quote(self._work)} && {{ {line}; }}" if inside else line
        with self._failing("does not answer"):
            # in a shell of its own, since `exit` would take the one that reports the code along
            done = self._device.shell2(f"sh -c {shlex.quote(line)}", timeout=timeout_s)
        return Completed(done.returncode, done.output, "")

    @contextlib.contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        """Turn what adb and its sockets raise into the loss of the device."""
        from adbutils.errors import AdbError

        try:
            yield
        except (AdbError, OSError, EOFError, ValueError, AssertionError) as error:
            if "unauthorized" in str(error):
                raise DeviceError(
                    f"{self.name} does not allow this computer", hint="accept the question on its screen"
                ) from error
            raise lost(f"{self.name} {what}: {str(error) or type(error).__name__}") from error


class AdbChannel:
    """A program on the device, over one stream of the adb server."""

    def __init__(self, connection: Any, transport: AdbTransport) -> None:
        self._connection = connection
        self._transport = transport
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def send(self, line: str) -> None:
        """Write one line.

        Raises:
            HostLostError: the program is gone.
        """
        try:
            self._connection.conn.sendall(line.encode() + b"\n")
        except OSError as error:
            raise HostLostError(f"the connection to {self._transport.name} broke ({error})") from error

    def receive(self, *, timeout_s: float) -> str:
        """The next line.

        Raises:
            HostLostError: the program is gone, or says nothing in time.
        """
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            raise HostLostError(f"{self._transport.name} has said nothing for {timeout_s:.0f} s") from None
        if line is None:
            self._lines.put(None)
            raise HostLostError(f"the connection to {self._transport.name} broke")
        return line

    def complaint(self) -> str:
        """The end of what the program wrote to its standard error."""
        return self._transport.complaint()

    def close(self) -> None:
        """End the stream, and with it the program's input."""
        with contextlib.suppress(OSError):
            self._connection.close()
        self._reader.join(timeout=2.0)

    def _read(self) -> None:
        rest = b""
        try:
            while chunk := self._connection.conn.recv(CHUNK):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._lines.put(line.decode(errors="replace"))
        except (OSError, ValueError):
            pass
        finally:
            self._lines.put(None)
