"""A real OpenSSH server on the loopback address, with keys of its own, for the tests of remote devices."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
PATIENCE_S = 600.0


def skip_without_sshd() -> None:
    """Skip where no server can be started."""
    if not Path(SSHD).exists() or shutil.which("ssh") is None:
        pytest.skip("OpenSSH's server is not installed")
    if os.geteuid() == 0 and not Path("/run/sshd").exists():
        Path("/run/sshd").mkdir(parents=True)


def free_port() -> int:
    """A port that nothing listens on."""
    with closing(socket.socket()) as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


@dataclass
class Server:
    """A server in a folder of its own; `config` is what the client is given."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        for name in ("host", "user", "stranger"):
            made = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)]
            subprocess.run(made, check=True)
        public = (self.folder / "user.pub").read_text(encoding="utf-8")
        (self.folder / "authorized_keys").write_text(public, encoding="utf-8")
        self.trust()
        self.use_key("user")
        (self.folder / "sshd_config").write_text(
            "\n".join(
                [
                    f"Port {self.port}",
                    "ListenAddress 127.0.0.1",
                    f"HostKey {self.folder / 'host'}",
                    f"AuthorizedKeysFile {self.folder / 'authorized_keys'}",
                    f"PidFile {self.folder / 'pid'}",
                    "PasswordAuthentication no",
                    "KbdInteractiveAuthentication no",
                    "PermitRootLogin prohibit-password",
                    "StrictModes no",
                    "UsePAM no",
                ]
            ),
            encoding="utf-8",
        )

    @property
    def address(self) -> str:
        """User, host and port."""
        return f"{getpass.getuser()}@127.0.0.1:{self.port}"

    @property
    def config(self) -> str:
        """The client's configuration."""
        return str(self.folder / "ssh_config")

    def trust(self, key: str = "host") -> None:
        """Let the client know this key of the server's."""
        public = (self.folder / f"{key}.pub").read_text(encoding="utf-8")
        line = f"[127.0.0.1]:{self.port} {' '.join(public.split()[:2])}\n"
        (self.folder / "known_hosts").write_text(line, encoding="utf-8")

    def forget(self) -> None:
        """Let the client know no server."""
        (self.folder / "known_hosts").write_text("", encoding="utf-8")

    def use_key(self, name: str) -> None:
        """Let the client offer this key, and no other."""
        (self.folder / "ssh_config").write_text(
            f"Host *\n  IdentityFile {self.folder / name}\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {self.folder / 'known_hosts'}\n  GlobalKnownHostsFile /dev/null\n",
            encoding="utf-8",
        )

    def start(self) -> None:
        """Listen; returns when connections are taken."""
        self.process = subprocess.Popen(
            [SSHD, "-D", "-f", str(self.folder / "sshd_config"), "-E", str(self.folder / "log")],
            start_new_session=True,
        )
        ends = time.monotonic() + PATIENCE_S
        while time.monotonic() < ends:
            with closing(socket.socket()) as opened:
                if opened.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError((self.folder / "log").read_text(encoding="utf-8"))

    def stop(self) -> None:
        """End the server and every connection."""
        if self.process is None:
            return
        for child in _descendants(self.process.pid):
            _kill(child)
        self.process.kill()
        self.process.wait()
        self.process = None

    def cut(self) -> None:
        """End every connection; new ones are taken."""
        assert self.process is not None
        for child in _descendants(self.process.pid):
            _kill(child)


def serving(folder: Path) -> Iterator[Server]:
    """A server that runs; ended afterwards."""
    skip_without_sshd()
    server = Server(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _descendants(pid: int) -> list[int]:
    children: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == pid:
                children += [int(entry.name), *_descendants(int(entry.name))]
    return children


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
