"""An Android device over the user's adb server, so that other programs can use the cable at the same time.

The library is adbutils: it talks to the server like the ``adb`` program, ships a server in case none is installed,
and is maintained. adb-shell implements the wire protocol itself and would need exclusive use of the cable.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mnv2search.errors import DeviceError, OptionError, extra_module
from mnv2search.latency.hosts.shell import COMMAND_S, LineChannel, ShellTransport
from mnv2search.latency.hosts.types import Completed, HostLostError, lost

if TYPE_CHECKING:
    from adbutils import AdbConnection, AdbDevice


# The folder of an Android device that the shell user may write to and run programs from.
WORK = "/data/local/tmp/mnv2search"
CONNECT_S = 10.0
# Transient states of a connecting device.
PASSING = frozenset({"connecting", "authorizing", "offline"})
SETTLE_S = 3.0
CHUNK = 1 << 16
SERIAL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*")
COMPLAINT = "runner.err"


class AdbTransport(ShellTransport):
    """A device by its serial number as ``adb devices`` lists it, or by ``host:port`` if it listens on the network.

    `server` is the ``host:port`` of the adb server; empty takes adb's default.
    """

    def __init__(self, serial: str, *, work: str = WORK, server: str = "") -> None:
        if not SERIAL.fullmatch(serial):
            raise OptionError(f"adb://{serial} names no device", hint="write adb://SERIAL or adb://host:port")
        adbutils = extra_module("adbutils", feature="a device over adb", package="adbutils", extra="adb")
        host, _, port = server.partition(":")
        if server and not port.isdigit():
            raise OptionError(f"adb server is {server!r}", hint="write host:port, such as 127.0.0.1:5037")
        self._client = adbutils.AdbClient(host, int(port)) if server else adbutils.AdbClient()
        super().__init__(f"adb://{serial}", work)
        self._serial = serial
        self._device: AdbDevice | None = None

    def connect(self) -> None:
        """Connect, or connect again, and make the work folder."""
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
        done = self._shell(f"mkdir -p {shlex.quote(self._work)}", timeout_s=COMMAND_S)
        if done.code != 0:
            raise HostLostError(f"{self.name}: the folder {self._work} cannot be made: {done.output.strip()}")

    def start(self, command: Sequence[str]) -> AdbChannel:
        """Start a program in the work folder."""
        line = f"cd {shlex.quote(self._work)} && exec {shlex.join(command)} 2>{COMPLAINT}"
        assert self._device is not None
        with self._failing("cannot start a program"):
            connection = self._device.open_transport(timeout=None)
            connection.send_command(f"exec:{line}")
            connection.check_okay()
        return AdbChannel(connection, self)

    def complaint(self) -> str:
        """The standard error of the last started program."""
        try:
            return self._inside(f"tail -n 20 {COMPLAINT}", timeout_s=COMMAND_S).output.strip().replace("\n", " / ")
        except HostLostError:
            return ""

    def close(self) -> None:
        """Drop the device; the server keeps its connection, which other programs may use."""
        self._device = None

    def _attached(self) -> dict[str, str]:
        return {info.serial: info.state for info in self._client.list(extended=False)}

    def _copy(self, name: str, content: bytes, *, part: str, then: str) -> None:
        assert self._device is not None
        with self._failing(f"does not take {name}"):
            self._device.sync.push(content, f"{self._work}/{part}")
        if self._inside(then, timeout_s=COMMAND_S).code != 0:
            raise lost(f"{name} did not arrive whole on {self.name}; its storage may be full")

    def _shell(self, line: str, *, timeout_s: float, given: bytes = b"") -> Completed:
        del given  # adb copies files by its own protocol
        assert self._device is not None
        with self._failing("does not answer"):
            # in a separate shell, since `exit` would also end the one that reports the exit code
            done = self._device.shell2(f"sh -c {shlex.quote(line)}", timeout=timeout_s)
        return Completed(done.returncode, done.output, "")

    @contextlib.contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        from adbutils.errors import AdbError

        try:
            yield
        except (AdbError, OSError, EOFError, ValueError, AssertionError) as error:
            if "unauthorized" in str(error):
                raise DeviceError(
                    f"{self.name} does not allow this computer", hint="accept the question on its screen"
                ) from error
            raise lost(f"{self.name} {what}: {str(error) or type(error).__name__}") from error


class AdbChannel(LineChannel):
    """A program on the device, over one stream of the adb server."""

    def __init__(self, connection: AdbConnection, transport: AdbTransport) -> None:
        super().__init__(transport.name)
        self._connection = connection
        self._transport = transport
        self._reader.start()

    def send(self, line: str) -> None:
        """Write one line."""
        try:
            self._connection.conn.sendall(line.encode() + b"\n")
        except OSError as error:
            raise HostLostError(f"the connection to {self._name} broke ({error})") from error

    def complaint(self) -> str:
        """The end of the program's standard error."""
        return self._transport.complaint()

    def close(self) -> None:
        """End the stream, and with it the program's input."""
        with contextlib.suppress(OSError):
            self._connection.close()
        self._reader.join(timeout=2.0)

    def _received(self) -> Iterator[str]:
        rest = b""
        while chunk := self._connection.conn.recv(CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (line.decode(errors="replace") for line in lines)
