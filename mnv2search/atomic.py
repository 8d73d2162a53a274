"""Atomic file replacement: write a temporary file next to the target, then rename it."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from mnv2search.errors import WriteError

TEMPORARY = re.compile(r"\..+\.(?P<pid>[0-9]{1,10})\.part(-journal)?", re.DOTALL)


@contextlib.contextmanager
def replacing(path: Path, *, makes_folder: bool = True) -> Iterator[Path]:
    """Yield a temporary path next to `path` and rename it to `path` at the end; on an error, the old file is kept.

    The folder is created if it is missing, unless `makes_folder` is false: a run whose folder was removed must not
    create a new one. A killed process leaves its temporary file behind; `remove_leftovers` recognises the file by the
    PID in its name.

    A device or a pipe is never replaced: `path` itself is yielded, to be written to.

    Raises:
        OSError: the file cannot be written.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        yield path
        return
    if makes_folder:
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, makes_folder: bool = True) -> None:
    """Like `write_bytes`, for UTF-8 text."""
    write_bytes(path, text.encode(), makes_folder=makes_folder)


def write_bytes(path: Path, data: bytes, *, makes_folder: bool = True) -> None:
    """Replace a file atomically and flush it to disk; see `replacing` for `makes_folder`.

    Raises:
        WriteError: the file cannot be written; the old file is kept.
    """
    try:
        with replacing(path, makes_folder=makes_folder) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise write_error(path, error) from error


def write_error(path: Path, error: OSError, *, kept: str = "") -> WriteError:
    """The error for a file that cannot be written; `kept` is a statement about what is kept, added to the hint.

    >>> write_error(Path("x"), OSError(errno.ENOSPC, "No space left on device"), kept="earlier files are kept").hint
    'free some space, and run the same command again; earlier files are kept'
    """
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    fix = "free some space" if is_full else "check that the folder exists and can be written to"
    hint = f"{fix}, and run the same command again" + (f"; {kept}" if kept else "")
    return WriteError(f"{path}: cannot be written: {error.strerror}", hint=hint)


def sync(path: Path) -> None:
    """Flush a file's content to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path, *, recursive: bool = False) -> None:
    """Remove the temporary files that killed processes left in a folder.

    Files of processes that are still running are kept. Processes on other machines are not recognised as running, so
    no process on another machine may write to the folder at the same time. `recursive` cleans subfolders too; it is
    only for a folder that is ours as a whole.
    """
    for path in (folder.rglob if recursive else folder.glob)(".*.part*"):
        match = TEMPORARY.fullmatch(path.name)
        if match and path.is_file() and not path.is_symlink() and not _is_alive(int(match["pid"])):
            with contextlib.suppress(OSError):
                path.unlink()


def _is_alive(pid: int) -> bool:
    """Whether a process other than this one has this PID; it may be a later process that reuses the PID."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
