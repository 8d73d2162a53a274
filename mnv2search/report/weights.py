"""Published weights on this machine, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mnv2search.model.weights.catalog_weights import PIP
from mnv2search.model.weights.places import OURS
from mnv2search.report.rows import Column, Rows, counted, rows_of

if TYPE_CHECKING:
    from mnv2search.model.weights.catalog_weights import FoundWeights, LocalWeights, PublishedWeights

SHOWN = 5


def weights_rows(weights: Sequence[PublishedWeights]) -> Rows:
    """A row for each file."""
    notes = []
    if any(one.top1 is not None for one in weights):
        notes.append(
            "published top-1: on ImageNet's validation images by the authors of the weights, not measured here"
        )
    if any(one.top1 is None for one in weights):
        notes.append("no published top-1: none is known for exactly this file")
    return rows_of(
        f"{counted(len(weights), 'weights file')} that --from can load",
        weights,
        (Column("name", align="left"), lambda one: one.name),
        (Column("network", align="left"), lambda one: one.spec.name),
        (Column("published top-1", "%"), lambda one: "" if one.top1 is None else f"{100 * one.top1:.1f}"),
        (Column("found in", align="left", spare=1), lambda one: one.file.place),
        (Column("size", "MB"), lambda one: f"{one.file.size_bytes / 1e6:.1f}"),
        (Column("file", align="left", spare=2), lambda one: str(one.file.path)),
        notes=notes,
    )


def weights_lines(found: FoundWeights) -> Iterator[str]:
    """How to use the weights or, if there are none, how to get some; and which files of a folder were left out."""
    if found.weights:
        yield "to begin with them: mnv2search run --data DATA --latency-ms MS --from NAME, or --from imagenet"
    else:
        yield f"no weights were found in packages and caches; to get some: {PIP}"
    if found.refused:
        yield f"{counted(len(found.refused), 'file')} of the folder cannot be loaded:"
        yield from (f"  {why}" for why in found.refused[:SHOWN])
    if len(found.refused) > SHOWN:
        yield f"  and {len(found.refused) - SHOWN} more"


def weights_json(found: FoundWeights) -> dict[str, object]:
    """A JSON document with every file; top-1 is a ratio from 0 to 1."""
    return {
        "weights": [one_json(one, one.file.path) for one in found.weights],
        "refused": list(found.refused),
    }


def local_json(found: LocalWeights) -> dict[str, object]:
    """The weights as JSON values, with the file that holds them."""
    return one_json(found.weights, found.path)


def one_json(one: PublishedWeights, path: Path) -> dict[str, object]:
    """One file as JSON values; `path` is where it is, or where it was written to."""
    figures = one.figures
    return {
        "name": one.name,
        "network": one.spec.name,
        "top1": None if figures is None else {"value": figures.top1, "kind": "published", "source": figures.source},
        "found_in": one.file.place,
        "file": str(path),
        "size_bytes": path.stat().st_size,
        "needs_from_spec": path.suffix not in OURS,
    }


def local_lines(found: LocalWeights) -> Iterator[str]:
    """The weights that were fetched, and how to begin with them."""
    one, path = found.weights, found.path
    spec = "" if path.suffix in OURS else f" --from-spec {one.spec.name}"
    yield f"{one.name}: weights of {one.spec.name}; to begin with them: --from {path}{spec}"
