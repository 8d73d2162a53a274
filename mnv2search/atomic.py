"""Atomic file replacement: a file is written beside its target and renamed, so that no reader sees half of it."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["remove_leftovers", "replacing", "sync"]

TEMPORARY = re.compile(r"\..+\.(?P<pid>[0-9]{1,10})\.part(-journal)?", re.DOTALL)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it at the end; where anything fails, the old file is kept.

    A process that is killed leaves the temporary file behind: `remove_leftovers` finds it by the process in its name.

    Raises:
        OSError: the disk does not take it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flush a file's content to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path, *, recursive: bool = False) -> None:
    """Remove the temporary files that killed processes left in a folder.

    Only for folders that no other process of ours writes to, or whose processes run on this machine. Files of
    processes that are still alive are left alone.

    Args:
        folder: to clean.
        recursive: clean the folders in it too; only for a folder that is ours as a whole.
    """
    for path in (folder.rglob if recursive else folder.glob)(".*.part*"):
        found = TEMPORARY.fullmatch(path.name)
        if found and path.is_file() and not path.is_symlink() and not _is_alive(int(found["pid"])):
            with contextlib.suppress(OSError):
                path.unlink()


def _is_alive(pid: int) -> bool:
    """Whether a process other than this one has the number, which numbers of earlier processes may share."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
