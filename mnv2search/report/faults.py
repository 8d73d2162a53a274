"""How much of a set of scenes is wrong, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mnv2search.report.rows import counted

if TYPE_CHECKING:
    from mnv2search.data.scenes import Fault

__all__ = ["faults_counted"]


def faults_counted(faults: Sequence[Fault]) -> str:
    """How many images and annotations are skipped, and how many clipped; nothing where there is no fault.

    >>> from pathlib import Path
    >>> from mnv2search.data.scenes import Fault
    >>> torn, long = Fault(Path("a"), "", "torn", of="image"), Fault(Path("b"), "", "too long", "clipped")
    >>> faults_counted([torn, long])
    '1 image skipped, 1 annotation clipped'
    """
    said = []
    for things in ("image", "annotation"):
        for done in ("skipped", "clipped"):
            if count := sum(fault.of == things and fault.done == done for fault in faults):
                said.append(f"{counted(count, things)} {done}")
    return ", ".join(said)
