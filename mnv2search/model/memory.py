"""A check that a network fits in memory, before anything is allocated."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from mnv2search.cost import BYTES, cost_of
from mnv2search.errors import OptionError
from mnv2search.spec.plan import Plan

# Source: Linux, Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
CONTAINER_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory_bytes() -> int:
    """The memory of this machine, or the limit of the container of this process, in bytes."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in CONTAINER_LIMITS:
        with suppress(OSError, ValueError):  # no such file, or its content is "max"
            found.append(int(Path(path).read_text(encoding="ascii")))
    return min(found)


def check_memory(laid_out: Plan, *, copies: int = 1, images: int = 0, available_bytes: int | None = None) -> None:
    """Check that the weights and feature maps of a network fit in memory.

    `copies` is the number of copies of the weights, and `images` the number of images computed at once.

    Raises:
        OptionError: the network needs more memory than is available.
    """
    cost = cost_of(laid_out)
    needed = copies * cost.params * BYTES["fp32"] + images * cost.peak_activation_bytes
    available = memory_bytes() if available_bytes is None else available_bytes
    if needed > available:
        raise OptionError(
            f"{laid_out.spec.name} needs at least {needed / 1e9:,.1f} GB of memory, but only "
            f"{available / 1e9:,.1f} GB are available",
            hint="use a smaller width, fewer channels or a lower resolution",
        )
