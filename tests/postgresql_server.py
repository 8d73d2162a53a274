"""A PostgreSQL server of the test's own, on loopback, without the disk's delays."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

USER = "postgres"
# Below the ports that Linux gives to outgoing connections, which could otherwise take the port of a stopped server.
PORTS = range(15_000, 32_000)
__all__ = ["PostgresqlServer", "free_port", "postgresql_url", "wait_until_open"]


class PostgresqlServer:
    """A server with an empty database, which can be stopped and started again on the same port."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._process: subprocess.Popen[bytes] | None = None
        # the server refuses to run as root
        is_root = os.getuid() == 0
        self._as_user: Any = {"user": USER, "group": USER, "extra_groups": []} if is_root else {}
        # a temporary folder of pytest is closed to other users
        self._folder = Path(tempfile.mkdtemp(prefix="postgresql-", dir="/tmp" if is_root else None))
        self._port = free_port()
        if is_root:
            shutil.chown(self._folder, USER, USER)
        words = ["-D", str(self._data), "-U", USER, "-A", "trust", "--no-sync", "-E", "UTF8"]
        self._run(f"{programs}/initdb", *words)

    @property
    def port(self) -> int:
        """The port on loopback."""
        return self._port

    @property
    def pid(self) -> int:
        """The PID of the running server."""
        assert self._process is not None
        return self._process.pid

    def url(self, port: int | None = None) -> str:
        """The URL of the database, by default at the port of the server."""
        return f"postgresql://{USER}@127.0.0.1:{port or self._port}/postgres"

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        options = [f"-p{self._port}", "-h127.0.0.1", f"-k{self._folder}", "-cfsync=off", "-cshared_buffers=32MB"]
        words = [str(self._programs / "postgres"), "-D", str(self._data), *options]
        with (self._folder / "log").open("ab") as log:
            started: subprocess.Popen[bytes] = subprocess.Popen(
                words, stdout=log, stderr=log, cwd=self._folder, **self._as_user
            )
        self._process = started
        _wait_until_ready(self.url(), started)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Disconnect all clients and stop the server; with SIGQUIT, as if it had crashed."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()

    def remove(self) -> None:
        """Stop the server, and remove its files."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _run(self, *words: str) -> None:
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, cwd=self._folder, **self._as_user)


@contextlib.contextmanager
def postgresql_url() -> Iterator[str]:
    """The URL of an empty database; skips the test if PostgreSQL is not installed."""
    programs = postgresql_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    pytest.importorskip("psycopg", reason="needs the extra storage")
    server = PostgresqlServer(programs)
    try:
        server.start()
        yield server.url()
    finally:
        server.remove()


def postgresql_programs() -> Path | None:
    """The folder of PostgreSQL's programs; None if it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))  # Debian does not put it into the path
    if (in_path := shutil.which("initdb")) is not None:
        found.append(Path(in_path))
    return found[-1].parent if found else None


def free_port() -> int:
    """A port of loopback that no program listens on."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port


def wait_until_open(port: int, server: subprocess.Popen[bytes]) -> None:
    """Wait until a server accepts connections on loopback."""
    while server.poll() is None:
        with contextlib.suppress(ConnectionError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        time.sleep(0.05)
    pytest.fail("the server ended")


def _wait_until_ready(url: str, server: subprocess.Popen[bytes]) -> None:
    import psycopg

    while server.poll() is None:
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(url).close()
            return
    pytest.fail("the PostgreSQL server ended")
