"""A PostgreSQL server of the test's own, on loopback, without the disk's delays."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

USER = "postgres"
__all__ = ["free_port", "postgresql_url", "wait_until_open"]


@contextlib.contextmanager
def postgresql_url() -> Iterator[str]:
    """The URL of an empty database; skips the test if PostgreSQL is not installed."""
    programs = _programs()
    pytest.importorskip("psycopg", reason="needs the extra storage")
    # the server refuses to run as root
    is_root = os.getuid() == 0
    as_user: Any = {"user": USER, "group": USER, "extra_groups": []} if is_root else {}
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    try:
        if is_root:
            shutil.chown(folder, USER, USER)
        data = folder / "data"
        words = [f"{programs}/initdb", "-D", str(data), "-U", USER, "-A", "trust", "--no-sync", "-E", "UTF8"]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, cwd=folder, **as_user)
        port = free_port()
        options = [f"-p{port}", "-h127.0.0.1", f"-k{folder}", "-cfsync=off", "-cshared_buffers=32MB"]
        log = (folder / "log").open("w")
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, *options], stdout=log, stderr=log, cwd=folder, **as_user
        )
        try:
            _wait_until_ready(port, server)
            yield f"postgresql://{USER}@127.0.0.1:{port}/postgres"
        finally:
            server.terminate()
            server.wait()
            log.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))  # Debian does not put it into the path
    if (in_path := shutil.which("initdb")) is not None:
        found.append(Path(in_path))
    if not found:
        pytest.skip("PostgreSQL is not installed")
    return found[-1].parent


def free_port() -> int:
    """A port of loopback that no program listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait_until_open(port: int, server: subprocess.Popen[bytes]) -> None:
    """Wait until a server accepts connections on loopback."""
    while server.poll() is None:
        with contextlib.suppress(ConnectionError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        time.sleep(0.05)
    pytest.fail("the server ended")


def _wait_until_ready(port: int, server: subprocess.Popen[bytes]) -> None:
    import psycopg

    while server.poll() is None:
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(f"postgresql://{USER}@127.0.0.1:{port}/postgres").close()
            return
    pytest.fail("the PostgreSQL server ended")
