"""Exclusive use of a device: one visit at a time across all processes of a user on this machine."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mnv2search.errors import DeviceError
from mnv2search.latency.types import DeviceInfo
from mnv2search.locking import file_lock


@contextmanager
def exclusive(device: DeviceInfo) -> Iterator[None]:
    """Hold the lock of a device's host and processors, after waiting for other processes that measure on them.

    The lock is released when its process ends. All devices on one host share a lock, except that devices pinned to
    processors have one for each set of processors.

    Raises:
        DeviceError: the lock cannot be created.
    """
    path = lock_path(device)
    with ExitStack() as stack:
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            if path.parent.lstat().st_uid != os.getuid():
                raise PermissionError(errno.EPERM, "its folder belongs to another user")
            stack.enter_context(file_lock(path))
        except OSError as error:
            raise DeviceError(
                f"{path} cannot be locked: {error.strerror}", hint="set TMPDIR to a folder that you can write to"
            ) from error
        yield


def lock_path(device: DeviceInfo) -> Path:
    """The lock file of a device, in the folder for temporary files, which is not shared with other machines."""
    name = re.sub(r"[^\w.-]+", "-", f"{device.host} {device.pinned}".strip())
    return Path(tempfile.gettempdir(), f"mnv2search-{os.getuid()}", f"{name}.lock")
