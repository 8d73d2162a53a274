"""The files that ship with the package: search spaces, and networks with their published metrics."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from mnv2search.display import Displayed
from mnv2search.errors import UnknownNameError
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.package_files import published_names, published_rows, search_spaces_dir
from mnv2search.spec.size import Resolution, resolution_of
from mnv2search.spec.yaml.read import loads


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFigures:
    """The metrics that one source published for a network; None if the source does not state a metric.

    Attributes:
        source: project, commit and file, or paper and table.
        weights: name of the trained weights, if the source has several.
        top1: ImageNet accuracy, 0 to 1, as `top5`.
        params: parameter count as published: rounded, and counted the source's way; likewise `madds`.
        latency_ms: latency for one image.
        note: how the source counts, if stated.
    """

    source: str
    weights: str
    resolution: Resolution
    top1: float | None
    top5: float | None
    params: int | None
    madds: int | None
    latency_ms: float | None
    device: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class CatalogEntry(Displayed):
    """A published network.

    Attributes:
        family: name of the family, such as ``MobileNetV2``.
        width: width multiplier that overrides the spec file, or None; likewise `resolution`.
        architecture: source of the rows.
        published: published metrics, one entry per source.
    """

    name: str
    family: str
    file: Path
    width: float | None
    resolution: Resolution | None
    architecture: str
    note: str
    published: tuple[PublishedFigures, ...]

    @property
    def spec(self) -> ModelSpec:
        """The network, read from its file on each access."""
        spec = _spec_of(self.file)
        return replace(
            spec,
            name=self.name,
            width=spec.width if self.width is None else self.width,
            resolution=spec.resolution if self.resolution is None else self.resolution,
        )

    @property
    def top1(self) -> float | None:
        """The first published ImageNet top-1 accuracy, 0 to 1."""
        return next((p.top1 for p in self.published if p.top1 is not None), None)


@lru_cache(maxsize=1)
def catalog() -> tuple[CatalogEntry, ...]:
    """Every published network that ships, ordered by family."""
    folder = search_spaces_dir() / "published"
    figures: dict[str, list[PublishedFigures]] = {}
    for row in published_rows("figures"):
        figures.setdefault(row["name"], []).append(_figures(row))
    return tuple(
        CatalogEntry(
            name=row["name"],
            family=row["family"],
            file=folder / row["file"],
            width=_number(row["width"]),
            resolution=resolution_of(row["resolution"]) if row["resolution"] else None,
            architecture=row["architecture"],
            note=row["note"],
            published=tuple(figures.get(row["name"], ())),
        )
        for row in published_rows("networks")
    )


def entry(name: str) -> CatalogEntry:
    """The catalog entry with a name.

    Raises:
        UnknownNameError: no entry has this name.
    """
    for one in catalog():
        if one.name == name:
            return one
    raise UnknownNameError("published network", name, published_names())


@lru_cache(maxsize=64)
def _spec_of(file: Path) -> ModelSpec:
    value = loads(file.read_text(encoding="utf-8"), file=str(file))
    if not isinstance(value, ModelSpec):
        raise TypeError(f"{file} ships as a published network, but leaves something to choose")
    return value


def _figures(row: dict[str, str]) -> PublishedFigures:
    top1, top5 = _number(row["top1_percent"]), _number(row["top5_percent"])
    params_m, madds_m = _number(row["params_m"]), _number(row["madds_m"])
    return PublishedFigures(
        source=row["source"],
        weights=row["weights"],
        resolution=resolution_of(row["resolution"]),
        top1=None if top1 is None else round(top1 / 100, 6),
        top5=None if top5 is None else round(top5 / 100, 6),
        params=None if params_m is None else round(params_m * 1e6),
        madds=None if madds_m is None else round(madds_m * 1e6),
        latency_ms=_number(row["latency_ms"]),
        device=row["device"],
        note=row["note"],
    )


def _number(text: str) -> float | None:
    return float(text) if text else None
