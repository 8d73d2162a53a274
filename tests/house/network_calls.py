"""Counts the sockets and name look-ups of a command, native code included, by `strace`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

HAS_STRACE = shutil.which("strace") is not None
# A socket of the internet, or what the C library reads and asks to turn a host's name into an address.
NETWORK = re.compile(
    r"AF_INET|nscd/socket|systemd/resolve|\"/etc/(resolv\.conf|hosts|host\.conf|gai\.conf|networks)\"|libnss_dns"
)


def network_calls(words: Sequence[str], *, home: Path) -> tuple[int, list[str]]:
    """Exit code of a command run with an empty home folder, and the system calls by which it reached for the network.

    Raises:
        subprocess.CalledProcessError: strace could not trace it.
    """
    home.mkdir(parents=True, exist_ok=True)
    trace = home.with_suffix(".strace")
    environment = {
        name: value
        for name, value in os.environ.items()
        if not re.match(r"XDG_|HF_|ORT_|DO_NOT_TRACK|CI$|TF_BUILD|JENKINS", name)
    }
    # a process without LOGNAME asks the name service who its user is, which is no look-up of a host
    environment |= {"HOME": str(home), "LOGNAME": "tester", "OMP_NUM_THREADS": "1"}
    environment["MNV2SEARCH_CACHE"] = str(home.with_suffix(".cache"))
    done = subprocess.run(
        ["strace", "-f", "--seccomp-bpf", "-qq", "-o", str(trace), "-e", "trace=network,open,openat", "--", *words],
        env=environment,
        capture_output=True,
        check=False,
    )
    lines = trace.read_text(errors="replace").splitlines()
    return done.returncode, [line for line in lines if NETWORK.search(line)]


def left_in(home: Path) -> list[str]:
    """Files that a command left in its home folder, but for matplotlib's list of fonts."""
    files = (path.relative_to(home) for path in home.rglob("*") if path.is_file())
    return sorted(str(path) for path in files if "matplotlib" not in path.parts)
