"""Exclusive use of a device: one visit at a time, over all processes of a user on this machine."""

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
    """Wait until no other process measures on the host and processors of a device, and keep others waiting.

    The lock ends with its process. All devices of this machine share one lock, unless they are pinned to processors.

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
    """The lock file of a device, in the folder of temporary files, which is not shared with other machines."""
    name = re.sub(r"[^\w.-]+", "-", f"{device.host} {device.pinned}".strip())
    return Path(tempfile.gettempdir(), f"mnv2search-{os.getuid()}", f"{name}.lock")
