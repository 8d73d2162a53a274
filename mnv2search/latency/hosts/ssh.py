"""Another machine over the system's ``ssh`` program, with the user's configuration, keys, agent and known hosts."""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Sequence

from mnv2search.errors import DeviceError, OptionError
from mnv2search.latency.hosts.shell import COMMAND_S, LineChannel, ShellTransport
from mnv2search.latency.hosts.types import Completed, HostLostError, lost

# Relative to the home folder on the machine; an absolute path is used unchanged.
WORK = ".cache/mnv2search"
CONNECT_S = 15
# A connection without any data for 3 times this long is dead.
ALIVE_S = 10
SSH_FAILED = 255
# Bytes per second of a slow link, for the time limit of a copy.
SLOWEST_LINK = 100_000
# Number of lines of the program's standard error that are kept.
KEPT_LINES = 20
END_S = 3.0
USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\$?")
HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:%-]*")
# Messages of ssh about permanent errors, with hints. Source: OpenSSH 9.2, sshconnect.c and ssh.c.
FINAL = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its host key has changed: find out why, then run ssh-keygen -R",
    ),
    ("Host key verification failed", "its host key is not known: connect once with {ssh} to check and accept it"),
    ("No host key is known", "its host key is not known: connect once with {ssh} to check and accept it"),
    ("Permission denied", "ssh needs a key or an agent that works without a question: try {ssh} -o BatchMode=yes"),
    ("Too many authentication failures", "name the key in {config} (IdentityFile, IdentitiesOnly)"),
    ("Could not resolve hostname", "check the name of the host"),
    ("Bad configuration option", "fix {config}"),
)


class SshTransport(ShellTransport):
    """A connection that all commands share, and a work folder in the user's home on the machine.

    The connection never prompts (`BatchMode`) and rejects hosts with an unknown key (`StrictHostKeyChecking`). The
    address is ``[user@]host[:port]``, with an IPv6 address in brackets; the file `config` replaces the user's
    configuration.
    """

    def __init__(self, address: str, *, config: str = "", work: str = WORK) -> None:
        self._user, self._host, self._port = _parsed(address)
        if shutil.which("ssh") is None:
            raise DeviceError("there is no ssh program on this machine", hint="install OpenSSH's client")
        super().__init__(f"ssh://{address}", work)
        self._config = config
        self._sockets: tempfile.TemporaryDirectory[str] | None = None

    def connect(self) -> None:
        """Connect, or connect again, and make the work folder."""
        self.close()
        # Paths of Unix sockets have at most 100 characters, so the folder is near the root, not in a user's folder.
        self._sockets = tempfile.TemporaryDirectory(prefix="mnv2s-", dir="/tmp")
        work = shlex.quote(self._work)
        try:
            done = self._shell(f"mkdir -p {work} && cd {work}", timeout_s=CONNECT_S + COMMAND_S)
            if done.code != 0:
                raise lost(f"{self.name}: the folder {self._work} cannot be made: {done.errors.strip()}")
        except DeviceError:
            self.close()
            raise

    def start(self, command: Sequence[str]) -> ProgramChannel:
        """Start a program in the work folder."""
        return ProgramChannel(
            self._ssh(f"cd {shlex.quote(self._work)} && exec {shlex.join(command)}"), name=self.name
        )

    def close(self) -> None:
        """Disconnect."""
        if self._sockets is None:
            return
        control = self._ssh("")[:-3]
        with contextlib.suppress(subprocess.SubprocessError, OSError):
            subprocess.run([*control, "-O", "exit", "--", self._target], capture_output=True, timeout=5, check=False)
        self._sockets.cleanup()
        self._sockets = None

    def _copy(self, name: str, content: bytes, *, part: str, then: str) -> None:
        done = self._inside(
            f"cat > {part} && {then}", timeout_s=COMMAND_S + len(content) / SLOWEST_LINK, given=content
        )
        if done.code != 0:
            raise lost(f"{name} cannot be copied to {self.name}: {done.errors.strip() or 'no space is left'}")

    def _shell(self, line: str, *, timeout_s: float, given: bytes = b"") -> Completed:
        try:
            done = subprocess.run(
                self._ssh(line),
                input=given,
                capture_output=True,
                timeout=timeout_s,
                check=False,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired as error:
            raise HostLostError(f"{self.name} has not answered for {timeout_s:.0f} s") from error
        except BrokenPipeError as error:
            raise HostLostError(f"the connection to {self.name} broke") from error
        errors = done.stderr.decode(errors="replace")
        if done.returncode == SSH_FAILED:
            raise _failure(self.name, errors, config=self._config)
        return Completed(done.returncode, done.stdout.decode(errors="replace"), errors)

    @property
    def _target(self) -> str:
        return f"{self._user}@{self._host}" if self._user else self._host

    def _ssh(self, line: str) -> list[str]:
        assert self._sockets is not None
        options = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "ConnectTimeout": str(CONNECT_S),
            "ServerAliveInterval": str(ALIVE_S),
            "ServerAliveCountMax": "3",
            "ControlMaster": "auto",
            "ControlPath": f"{self._sockets.name}/c",
            "ControlPersist": "60",
            "LogLevel": "ERROR",
        }
        words = ["ssh", "-T"]
        words += ["-F", self._config] if self._config else []
        words += ["-p", str(self._port)] if self._port else []
        for key, value in options.items():
            words += ["-o", f"{key}={value}"]
        # The user's login shell on the machine is unknown; every shell interprets this line in the same way.
        return [*words, "--", self._target, f"exec sh -c {shlex.quote(line)}"]


def _parsed(address: str) -> tuple[str, str, int]:
    """User, host and port of an address, checked so that ssh cannot mistake them for options."""
    hint = "write ssh://user@host or ssh://user@host:port"
    user, at, rest = address.rpartition("@")
    if rest.startswith("["):
        host, _, tail = rest[1:].partition("]")
        port = tail.removeprefix(":")
    else:
        host, _, port = rest.partition(":")
    if (at and not USER.fullmatch(user)) or not HOST.fullmatch(host):
        raise OptionError(f"ssh://{address} names no host", hint=hint)
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise OptionError(f"ssh://{address}: the port is {port!r}", hint=hint)
    return user, host, int(port or 0)


def _failure(name: str, errors: str, *, config: str = "") -> DeviceError:
    program = f"ssh -F {shlex.quote(config)}" if config else "ssh"
    for words, hint in FINAL:
        if words in errors:
            lines = [line.strip() for line in errors.splitlines() if words in line]
            fix = hint.format(ssh=program, config=config or "~/.ssh/config")
            return DeviceError(f"{name} cannot be used: {lines[0].strip('@ ')}", hint=fix)
    reason = " / ".join(line.strip() for line in errors.splitlines() if line.strip())
    return HostLostError(f"the connection to {name} failed: {reason or 'ssh gives no reason'}")


class ProgramChannel(LineChannel):
    """A channel over a local program, such as ``ssh``, that runs in a separate session.

    Ctrl-C on the terminal therefore interrupts this process but not the program, which ends when its input is closed.
    """

    def __init__(self, command: Sequence[str], *, name: str) -> None:
        super().__init__(name)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        self._complaints: deque[str] = deque(maxlen=KEPT_LINES)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()
        self._listener.start()

    def send(self, line: str) -> None:
        """Write one line."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except (OSError, ValueError) as error:
            raise HostLostError(f"the connection to {self._name} broke ({self.complaint() or error})") from error

    def complaint(self) -> str:
        """The end of the program's standard error."""
        self._listener.join(timeout=END_S)
        return " / ".join(self._complaints)

    def close(self) -> None:
        """Close the program's input, and terminate the program if it does not end."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for reader in (self._reader, self._listener):
            reader.join(timeout=END_S)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _reason(self) -> str:
        return self.complaint() or "it was closed"

    def _received(self) -> Iterator[str]:
        assert self._process.stdout is not None
        yield from (line.rstrip("\n") for line in self._process.stdout)

    def _listen(self) -> None:
        assert self._process.stderr is not None
        with contextlib.suppress(ValueError, OSError):
            for line in self._process.stderr:
                if text := line.strip():
                    self._complaints.append(text)
