"""What a compilation says below its table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnv2search.jobs.compile import Compiled

__all__ = ["compiled_json", "compiled_notes"]


def compiled_json(compiled: Compiled) -> dict[str, Any]:
    """One document with our field names as keys."""
    return {
        "name": compiled.plan.spec.name,
        **asdict(compiled.cost),
        "fvcore_madds": compiled.fvcore_madds,
        "exports": [{**asdict(report), "path": str(report.path)} for report in compiled.exports],
    }


def compiled_notes(compiled: Compiled) -> Iterator[str]:
    """Lines for people: the second count, and each file with how far it computes from the network."""
    if (counted := compiled.fvcore_madds) is not None:
        same = "the same" if counted == compiled.cost.madds else f"{counted - compiled.cost.madds:+,}"
        yield f"fvcore counts {counted:,} multiply-adds in convolutions and linear layers: {same}"
    for report in compiled.exports:
        yield (
            f"wrote {report.path} ({report.size_bytes / 1e6:.2f} MB); loaded again, it differs from the network by "
            f"at most {report.max_relative_difference:.1e} (relative; tolerance {report.tolerance:.0e})"
        )
