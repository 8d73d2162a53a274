"""The fits behind the ImageNet estimate: from two tables to its coefficients, intervals and ranges.

`imagenet_estimate.py` runs and checks them. All logits are of top-1; x = log(multiply-adds / 300 M) and
r = log(resolution / 224 px).
"""

from __future__ import annotations

import csv
import gzip
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

COVERAGE = 0.9
# The three ways of reading "multiply-adds within 15 %": ratio, log ratio, and the smaller over the larger.
READINGS = {"ratio <= 1.15": 1.15, "|log ratio| <= 0.15": math.exp(0.15), "smaller >= 85 % of larger": 1 / 0.85}
# Nets that differ by less are as good as equal. Source: spread of one network over recipes and seeds.
POINT_APART = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Networks as columns; `structure` has the six terms of the estimate's structure part."""

    names: tuple[str, ...]
    families: NDArray[np.str_]
    recipes: NDArray[np.str_]
    top1: Array
    madds: Array
    resolution: Array
    structure: Array

    @property
    def logit(self) -> Array:
        """Of top-1."""
        return np.log(self.top1 / (1 - self.top1))

    @property
    def x(self) -> Array:
        """log(multiply-adds / 300 M)."""
        return np.log(self.madds / 3e8)

    @property
    def r(self) -> Array:
        """log(resolution / 224 px)."""
        return np.log(self.resolution / 224)

    def only(self, mask: Mask) -> Table:
        """The networks of the mask."""
        return Table(
            names=tuple(itertools.compress(self.names, mask)),
            families=self.families[mask],
            recipes=self.recipes[mask],
            top1=self.top1[mask],
            madds=self.madds[mask],
            resolution=self.resolution[mask],
            structure=self.structure[mask],
        )


def published(path: Path) -> tuple[Table, Mask, Mask]:
    """Published networks, which of them are fitted, and which have squeeze-excite."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))

    def column(name: str) -> Array:
        return np.array([float(row[name]) for row in rows])

    blocks = column("blocks")
    terms = [np.log(column(n)) for n in ("body_params", "activations")]
    terms += [np.log(blocks), column("large_kernel_blocks") / blocks, column("squeeze_excite"), np.zeros(len(rows))]
    table = Table(
        names=tuple(row["name"] for row in rows),
        families=np.array([row["family"] for row in rows]),
        recipes=np.array([row["recipe"] for row in rows]),
        top1=column("top1") / 100,
        madds=column("madds"),
        resolution=column("resolution"),
        structure=np.array(terms).T,
    )
    return table, column("fitted") > 0, column("squeeze_excite") > 0


def accel_nasbench(path: Path) -> tuple[Table, Mask]:
    """The 5,138 networks of Accel-NASBench, and which have every stage after the first expanded.

    Source of the layout: afzalxo/Accel-NASBench; the parameters counted here equal the table's.
    """
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    counted = [_count(row) for row in rows]
    for row, (_, params, *_rest, gates) in zip(rows, counted, strict=True):
        total = params + gates + 1_281_000
        if abs(total - 1e6 * float(row["params_m"])) > 1:
            raise ValueError(f"network {row['id']}: counted {total} parameters, not {row['params_m']} M")
    numbers = np.array(counted)
    table = Table(
        names=tuple(row["id"] for row in rows),
        families=np.full(len(rows), "accel_nasbench"),
        recipes=np.full(len(rows), "accel_nasbench"),
        top1=np.array([float(row["top1"]) for row in rows]) / 100,
        madds=numbers[:, 0],
        resolution=np.full(len(rows), 224.0),
        structure=np.c_[np.log(numbers[:, 1:4]), numbers[:, 4:7]],
    )
    return table, numbers[:, 6] == 0


def _count(row: dict[str, str]) -> tuple[float, ...]:
    """Multiply-adds, body params, activations, blocks, large-kernel, SE and unexpanded share, SE params."""
    strides, inputs, outputs = (1, 2, 2, 2, 1, 2, 1), (32, 16, 24, 40, 80, 112, 192), (16, 24, 40, 80, 112, 192, 320)
    side = 112
    madds, params, activations = 864 * side**2, 864 + 64, 32 * side**2
    blocks = large = gated = gates = unexpanded = 0
    for stage in range(7):
        expansion, kernel, layers, gate = (int(row[f"b{stage}_{what}"]) for what in ("e", "k", "l", "se"))
        for layer in range(layers):
            c_in, stride = (inputs[stage], strides[stage]) if layer == 0 else (outputs[stage], 1)
            hidden, c_out, out = c_in * expansion, outputs[stage], side // stride
            if expansion > 1:
                madds += c_in * hidden * side**2
                params += c_in * hidden + 2 * hidden
                activations += hidden * side**2
            madds += (hidden * kernel**2 + hidden * c_out) * out**2
            params += hidden * kernel**2 + hidden * c_out + 2 * hidden + 2 * c_out
            activations += (hidden + c_out) * out**2
            gates += gate * (2 * hidden * max(1, c_in // 4) + hidden + max(1, c_in // 4))
            side = out
        blocks += layers
        large += layers * (kernel >= 5)
        gated += layers * gate
        unexpanded += stage > 0 and expansion == 1
    madds += 320 * 1280 * side**2 + 1280 * 1000
    params += 320 * 1280 + 2 * 1280
    activations += 1280 * side**2
    return (madds, params, activations, blocks, large / blocks, gated / blocks, unexpanded / 6, gates)


def solved(design: Array, values: Array) -> Array:
    """The least-squares weights."""
    return np.asarray(np.linalg.lstsq(design, values, rcond=None)[0], dtype=np.float64)


def fit_structure(anb: Table, rows: Mask | None = None) -> tuple[Array, float, float]:
    """The structure's coefficients, that of log multiply-adds beside them, and the intercept."""
    use = np.ones(len(anb.top1), bool) if rows is None else rows
    design = np.c_[anb.structure, np.log(anb.madds), np.ones(len(anb.top1))]
    weights = solved(design[use], anb.logit[use])
    return weights[:6], float(weights[6]), float(weights[7])


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Everything but the intervals and the ranges."""

    structure: Array
    level: Array
    typical: Array

    def departure(self, table: Table) -> Array:
        """How far each structure is from the typical one."""
        return np.asarray(table.structure @ self.structure - _typical_design(table) @ self.typical)

    def level_of(self, table: Table) -> Array:
        """The typical logit at each cost and side."""
        return np.asarray(_level_design(table) @ self.level)

    def logit(self, table: Table) -> Array:
        """The estimates."""
        return self.level_of(table) + self.departure(table)


def _level_design(table: Table) -> Array:
    return np.asarray(np.c_[np.ones(len(table.top1)), table.x, table.x**2, table.r])


def _typical_design(table: Table) -> Array:
    return np.asarray(np.c_[np.ones(len(table.top1)), table.x, table.r])


def fit(table: Table, structure: Array, rows: Mask | None = None) -> Fit:
    """The level and the typical structure of published networks, given the structure's coefficients."""
    part = table if rows is None else table.only(rows)
    values = part.structure @ structure
    typical = solved(_typical_design(part), values)
    departure = values - _typical_design(part) @ typical
    level = solved(_level_design(part), part.logit - departure)
    return Fit(structure=structure, level=level, typical=typical)


def curve(table: Table, rows: Mask) -> Array:
    """Logits by the quadratic in log multiply-adds alone, fitted on `rows`, for all."""
    design = np.c_[np.ones(len(table.top1)), table.x, table.x**2]
    return np.asarray(design @ solved(design[rows], table.logit[rows]))


Predict = Callable[[Mask], Array]
"""Fits on the masked rows and returns logits for all."""


def leave_family_out(table: Table, predict: Predict) -> Array:
    """Each network's logit as predicted by a fit that has not seen its family."""
    logits = np.empty(len(table.top1))
    for family in np.unique(table.families):
        held = table.families == family
        logits[held] = predict(~held)[held]
    return logits


def share(logits: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-logits)))


def comparable(table: Table, ratio: float) -> list[tuple[int, int]]:
    """Pairs of about equal multiply-adds, more than half a point apart."""
    return [
        (i, j)
        for i, j in itertools.combinations(range(len(table.top1)), 2)
        if max(table.madds[i] / table.madds[j], table.madds[j] / table.madds[i]) <= ratio
        and abs(table.top1[i] - table.top1[j]) > POINT_APART
    ]


def same_network(table: Table, pair: tuple[int, int]) -> bool:
    """The two differ in their training alone, so no function of the network can order them."""
    i, j = pair
    return bool(
        table.madds[i] == table.madds[j]
        and table.resolution[i] == table.resolution[j]
        and np.array_equal(table.structure[i], table.structure[j])
    )


def always(values: Array) -> Callable[[int, int], Array]:
    """The same values whatever the pair."""
    return lambda *_pair: values


def ordered(table: Table, pairs: Iterable[tuple[int, int]], logits: Callable[[int, int], Array]) -> int:
    """How many pairs the logits, which may depend on the pair, put in the right order."""
    count = 0
    for i, j in pairs:
        values = logits(i, j)
        count += bool((values[i] - values[j]) * (table.top1[i] - table.top1[j]) > 0)
    return count


def conformal(residuals: Array, coverage: float = COVERAGE) -> float:
    """The half-width that covers a new residual with that probability if it is exchangeable with these."""
    rank = math.ceil(coverage * (len(residuals) + 1))
    return float(np.sort(np.abs(residuals))[min(rank, len(residuals)) - 1])


def nested_coverage(table: Table, structure: Array) -> float:
    """Share of networks inside an interval made without their family, neither in the fit nor in its half-width."""
    covered = 0
    for family in np.unique(table.families):
        rest = table.only(table.families != family)
        inner = leave_family_out(rest, lambda rows, rest=rest: fit(rest, structure, rows).logit(rest))  # type: ignore[misc]
        half = conformal(rest.logit - inner)
        held = table.only(table.families == family)
        covered += int((np.abs(fit(rest, structure).logit(held) - held.logit) <= half).sum())
    return covered / len(table.top1)


def cross_validated(anb: Table, folds: int = 5, seed: int = 0) -> tuple[Array, Array]:
    """Held-out logits, and the same without the term of multiply-adds."""
    fold = np.random.default_rng(seed).integers(0, folds, len(anb.top1))
    logits, structure = np.empty(len(fold)), np.empty(len(fold))
    for k in range(folds):
        held = fold == k
        weights, by_madds, intercept = fit_structure(anb, ~held)
        structure[held] = anb.structure[held] @ weights + by_madds * math.log(3e8) + intercept
        logits[held] = structure[held] + by_madds * anb.x[held]
    return logits, structure


def shrink(anb: Table, rows: Mask, structure: Array) -> float:
    """The slope of true logits on held-out structure at equal multiply-adds, among `rows`."""
    design = np.c_[structure, np.log(anb.madds), np.log(anb.madds) ** 2, np.ones(len(structure))][rows]
    return float(solved(design, anb.logit[rows])[0])


def pair_residuals(table: Table, level: Array, structure: Array, factor: float, max_log_madds: float) -> Array:
    """True minus estimated difference (rows: pairs; columns: residual, |log ratio of sides|) within recipes."""
    found = []
    for i, j in itertools.combinations(range(len(table.top1)), 2):
        if table.recipes[i] == table.recipes[j] and abs(table.x[i] - table.x[j]) <= max_log_madds:
            estimated = level[i] - level[j] + factor * (structure[i] - structure[j])
            found.append((table.logit[i] - table.logit[j] - estimated, abs(table.r[i] - table.r[j])))
    return np.array(found)


def ends_held_out(table: Table, structure: Array, columns: Sequence[Array], most: float = 0.1) -> Array:
    """Residuals of the outermost networks, either end of each column, by fits that have not seen them."""
    size = max(2, round(most * len(table.top1)))
    residuals: list[float] = []
    for column in columns:
        order = np.argsort(column, kind="stable")
        for end in (order[:size], order[-size:]):
            rows = np.ones(len(order), bool)
            rows[end] = False
            residuals.extend((fit(table, structure, rows).logit(table) - table.logit)[end])
    return np.array(residuals)


def spearman(one: Array, other: Array) -> float:
    """Rank correlation, ties at their mean rank."""
    ranks = []
    for values in (one, other):
        _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(counts) - (counts - 1) / 2)[inverse])
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])
