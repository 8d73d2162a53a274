"""A TCP proxy on loopback whose connections can be cut or stalled; it runs in a separate process."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from postgresql_server import free_port

HERE = "127.0.0.1"
Command = Literal["open", "cut", "stall"]


class Proxy:
    """Forwards connections to a port of loopback.

    `cut` resets all connections and refuses new ones; `stall` keeps connections, accepts new ones, and forwards
    nothing; `open` ends both.
    """

    def __init__(self, target: int) -> None:
        self.port = free_port()
        commands, self._commands = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._commands)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            try:
                asyncio.run(_Relay(self.port, target).run(commands))
            finally:
                os._exit(0)
        os.close(commands)

    def tell(self, command: Command) -> None:
        """Change what the proxy does."""
        os.write(self._commands, f"{command} ".encode())

    def end(self) -> None:
        """End the process of the proxy."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._commands)


class _Relay:
    def __init__(self, port: int, target: int) -> None:
        self._port, self._target = port, target
        self._server: asyncio.Server | None = None
        self._transports: set[asyncio.WriteTransport] = set()
        self._flows = asyncio.Event()

    async def run(self, commands: int) -> None:
        """Obey the commands that arrive on a descriptor until its other end is closed."""
        told: asyncio.Queue[str] = asyncio.Queue()
        read = partial(os.read, commands, 1 << 10)
        asyncio.get_running_loop().add_reader(commands, lambda: told.put_nowait(read().decode()))
        await self._obey("open")
        while words := (await told.get()).split():
            await self._obey(words[-1])

    async def _obey(self, command: str) -> None:
        if command == "stall":
            self._flows.clear()
        elif command == "cut":
            if self._server is not None:
                self._server.close()
            self._server = None
            for transport in tuple(self._transports):
                transport.abort()
        else:
            self._flows.set()
            if self._server is None:
                self._server = await asyncio.start_server(self._connected, HERE, self._port)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transports = {writer.transport}
        try:
            there_reader, there_writer = await asyncio.open_connection(HERE, self._target)
            transports.add(there_writer.transport)
            self._transports |= transports
            await asyncio.gather(self._copy(reader, there_writer), self._copy(there_reader, writer))
        except OSError:
            pass  # the server is stopped, or a connection was reset
        finally:
            self._transports -= transports
            for transport in transports:
                transport.abort()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            await self._flows.wait()
            writer.write(data)
            await writer.drain()
        writer.close()
