"""Locks that end with their process: of a folder while a process writes to it, and of a file for a short time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mnv2search.atomic import remove_leftovers
from mnv2search.errors import RecordError

LOCK = ".lock"


@contextmanager
def folder_lock(folder: Path, *, busy: str, hint: str) -> Iterator[bool]:
    """Lock a folder for this process, creating it if necessary; yields whether the folder was created.

    The lock is released when the process ends, even if it is killed. Temporary files of killed processes are removed,
    and a folder that was created is removed again if it is still empty at the end.

    `busy` names the other process in messages, such as "another run"; `hint` says how to choose another folder.

    Raises:
        RecordError: another process has locked the folder, or the folder cannot be written to.
    """
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        descriptor = _opened(folder)
    except BlockingIOError as error:
        raise RecordError(f"{folder} is in use by {busy}", hint=f"wait for it to end, or {hint}") from error
    except OSError as error:
        raise RecordError(f"{folder}: cannot be written: {error.strerror}", hint=hint) from error
    try:
        remove_leftovers(folder)
        yield bool(created)
    finally:
        if created and (not folder.exists() or is_held(folder, os.fstat(descriptor))):
            _remove_if_empty(folder, created)
        os.close(descriptor)


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold the lock of a file, after waiting for it; the file is created if it is missing.

    Threads of one process also exclude each other. A symbolic link is refused.

    Raises:
        OSError: the file cannot be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_if_empty(folder: Path, created: Sequence[Path]) -> None:
    """Remove the folder, and the parents that were created for it, if it contains only its lock."""
    if folder.exists() and os.listdir(folder) != [LOCK]:
        return
    with contextlib.suppress(OSError):  # files of another process are kept
        (folder / LOCK).unlink(missing_ok=True)
        for path in created:
            if path.exists():
                path.rmdir()


def _opened(folder: Path) -> int:
    """A locked descriptor of the lock file; a symbolic link or a named pipe instead of the file is not opened."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(folder / LOCK, flags, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if is_held(folder, os.fstat(descriptor)):
                return descriptor
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)  # the process that held the lock has removed the folder


def is_held(folder: Path, lock: os.stat_result) -> bool:
    """Whether this is still the lock file of the folder; if not, the folder was removed, renamed or replaced."""
    try:
        return os.path.samestat(os.stat(folder / LOCK, follow_symlinks=False), lock)
    except OSError:
        return False
