"""Supervisor process that runs one program and kills it with all its descendants when standard input is closed.

It is started as ``python -I -S supervisor.py STATUS_FD PROGRAM …``. If its parent process is killed, the kernel
closes the pipe, so the program is killed in that case too. On Linux, orphaned descendants become children of the
supervisor, even from other sessions; on other systems only the program's process group is killed. The supervisor
writes ``exit CODE`` to the file descriptor STATUS_FD when the program has ended, or ``errno NUMBER`` if it cannot be
started.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time

# Source: Linux, include/uapi/linux/prctl.h.
PR_SET_CHILD_SUBREAPER = 36
# Time after which to give up on processes that cannot be killed, of another user or stuck in the kernel.
END_S = 3.0
POLL_S = 0.01


def main() -> int:
    """Run the program of the command line; returns 1 if one of its processes could not be killed."""
    status = int(sys.argv[1])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    woken = _wake_on_signals()
    try:
        program = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        os.write(status, b"errno %d" % (error.errno or 0))
        return 0
    for stream in (1, 2):  # only the program holds them, so that a reader sees end of file
        os.close(stream)
    _wait(program.pid, status, woken)
    return 0 if _end(program.pid) else 1


def _wake_on_signals() -> int:
    """Return a file descriptor that becomes readable when a child ends, and ignore termination signals."""
    woken, waker = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)  # not SIG_IGN, which the program would inherit
    return woken


def _wait(program: int, status: int, woken: int) -> None:
    """Report the end of the program; return when standard input is closed."""
    while True:
        for pid, code in _reaped():
            if pid == program:
                with contextlib.suppress(BrokenPipeError):
                    os.write(status, b"exit %d" % code)
        ready, _, _ = select.select([0, woken], [], [])
        if 0 in ready:
            return
        os.read(woken, 4096)


def _end(program: int) -> bool:
    """Kill children, and orphans that become children, until none is left; returns whether that succeeded."""
    deadline = time.monotonic() + END_S
    while time.monotonic() < deadline:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(program, signal.SIGKILL)
        for pid in _children():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        _reaped()
        if not _has_children():
            return True
        time.sleep(POLL_S)
    return False


def _reaped() -> "list[tuple[int, int]]":
    """PID and exit code of each child that has ended since the last call."""
    found = []
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, code = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            found.append((pid, os.waitstatus_to_exitcode(code)))
    return found


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _children() -> "list[int]":
    """PIDs of this process's children, if the system has /proc."""
    found = []
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else []:
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                # "PID (NAME) STATE PARENT …"; the name may contain any character
                if int(file.read().rpartition(b")")[2].split()[1]) == os.getpid():
                    found.append(int(name))
    return found


if __name__ == "__main__":
    sys.exit(main())
