"""The model behind the ImageNet estimate: a hierarchical Bayesian regression of published results.

`imagenet_estimate.py` runs and checks it. In logits of top-1, with x = log(multiply-adds / 300 M) and
l = log(resolution / 224 px), the result i of recipe r and group g (one family of networks in one recipe) is

    y_i = f(x_i, l_i, p_i, d_i, shares_i) . w  +  nuisance_i . v
          + recipe_r + group_g + (slopes of group g in x, l and l x) + (structure of recipe r) + noise_i

where p and d are the departures of log body parameters and log blocks from those of a typical network of that cost
and resolution. All terms are Gaussian: given the standard deviations, the posterior of w is a linear solve. The
standard deviations maximise the marginal likelihood.

The random trainings of Accel-NASBench are one more recipe. All of them see 224 px and a shortened training, so that
level, cost and unexpanded stages have coefficients of their own there, and only the structure is shared.
"""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

from mnv2search.accuracy.estimate import TERMS, Coefficients, Features, terms_many

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Covariates of the fit that are left out of estimates: properties of recipes and families of published results.
NUISANCE = ("searched", "separable", "mobilenetv3", "log epochs", "augmented", "modern")
# Terms of Accel-NASBench alone.
TABLE_NUISANCE = ("table", "table x", "table x^2", "unexpanded x p", "unexpanded x d")
COLUMNS = (*TERMS, *NUISANCE, *TABLE_NUISANCE)
SHARED = len(TERMS) + len(NUISANCE)
# Prior standard deviation of every column; a doubling of one quantity moves no network by more than a few of these.
PRIOR_SD = np.array(
    [
        3.0,
        1.0,
        1.0,
        1.0,
        1.0,
        0.15,
        0.15,
        0.15,
        0.2,
        0.2,
        0.3,
        0.5,
        0.1,
        0.3,
        0.1,
        0.1,
        0.1,
        0.1,
        1.0,
        1.0,
        1.0,
        0.5,
        0.5,
    ]
)
SLOPES = (TERMS.index("cost"), TERMS.index("log side"), TERMS.index("log side x"))
STRUCTURE = slice(TERMS.index("p"), len(TERMS))
# How much each structure term may differ between recipes, as a share of `Spread.structure`; squares differ less.
STRUCTURE_SHARE = np.array([1.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0])
TYPICAL_EPOCHS = 300
# Standard deviation of a fit of Accel-NASBench by its own columns: mostly the noise of a training.
TABLE_NOISE = 0.0394


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Standard deviations in logits.

    Attributes:
        recipe: of the level of a recipe.
        group: of the level of a family of networks within a recipe.
        noise: of a single result.
        cost: of the slope in the cost term between groups.
        side: of the slope in log resolution.
        side_cost: of the slope in log resolution times log multiply-adds.
        structure: of the structure coefficients between recipes of published results.
        table: the same for Accel-NASBench, whose networks were drawn at random.
    """

    recipe: float = 0.03
    group: float = 0.011
    noise: float = 0.015
    cost: float = 0.029
    side: float = 0.038
    side_cost: float = 0.032
    structure: float = 0.04
    table: float = 0.04


# The likeliest, to two digits. The others are set, because there are too few recipes and sources to fit them.
FITTED_SPREADS = ("group", "noise", "cost", "side", "side_cost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Published results as columns.

    Attributes:
        columns: (N, terms and nuisances).
    """

    names: NDArray[np.str_]
    architectures: NDArray[np.str_]
    groups: NDArray[np.str_]
    recipes: NDArray[np.str_]
    sources: NDArray[np.str_]
    top1: Array
    madds: Array
    resolution: Array
    columns: Array
    reference: Mask

    @property
    def logit(self) -> Array:
        """Of top-1."""
        return np.log(self.top1 / (1 - self.top1))

    @property
    def x(self) -> Array:
        """log(multiply-adds / 300 M)."""
        return np.log(self.madds / 3e8)

    def only(self, mask: Mask) -> Table:
        """The results of the mask."""
        return Table(**{f.name: getattr(self, f.name)[mask] for f in fields(Table)})


def published(path: Path, coefficients: Coefficients) -> Table:
    """The results to fit; if a source does not state the structure, the group's mean deviation is used."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["use"] == "fit"]
    features = _features(rows, coefficients)
    nuisance = np.array([_nuisance(row) for row in rows])
    ship = terms_many(features, coefficients)

    def texts(name: str) -> NDArray[np.str_]:
        return np.array([row[name] for row in rows])

    return Table(
        names=texts("name"),
        architectures=texts("architecture"),
        groups=texts("group"),
        recipes=texts("recipe"),
        sources=texts("source"),
        top1=np.array([float(row["top1"]) / 100 for row in rows]),
        madds=features["madds"],
        resolution=features["resolution"],
        columns=np.c_[ship, nuisance, np.zeros((len(rows), len(TABLE_NUISANCE)))],
        reference=np.array([row["reference"] == "1" for row in rows]),
    )


def _nuisance(row: Mapping[str, str]) -> list[float]:
    epochs = float(row["epochs"] or TYPICAL_EPOCHS)
    kinds = [float(row["kind"] == name) for name in ("searched", "separable", "mobilenetv3")]
    generations = [float(row["generation"] == name) for name in ("augmented", "modern")]
    return [*kinds, math.log(epochs / TYPICAL_EPOCHS), *generations]


def _features(rows: Sequence[Mapping[str, str]], c: Coefficients) -> dict[str, Array]:
    """One array per feature; values that a row does not state are taken from its group."""
    found = {name: np.array([float(row[name]) for row in rows]) for name in ("madds", "resolution", "se_share")}
    groups = np.array([row["group"] for row in rows])
    x, l = np.log(found["madds"] / 3e8), np.log(found["resolution"] / 224)  # noqa: E741 - as in the formula
    for name, (start, by_x, by_l) in (("body_params", c.typical_params), ("blocks", c.typical_blocks)):
        typical = start + by_x * x + by_l * l
        stated = np.array([math.log(float(row[name])) if row[name] else math.nan for row in rows])
        found[name] = np.exp(typical + _filled(stated - typical, groups))
    kernels = np.array([float(row["large_kernel_share"] or math.nan) for row in rows])
    return found | {"large_kernel_share": _filled(kernels, groups), "unexpanded_share": np.zeros(len(rows))}


def _filled(values: Array, groups: NDArray[np.str_]) -> Array:
    """Replace NaN by the mean of the group, or by 0 if the group has no value."""
    filled = values.copy()
    for group in np.unique(groups):
        own = groups == group
        known = values[own & ~np.isnan(values)]
        filled[own & np.isnan(values)] = known.mean() if len(known) else 0.0
    return filled


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomNetworks:
    """Networks of Accel-NASBench: drawn at random, trained alike and shortly at 224 px.

    Attributes:
        columns: (N, terms and nuisances).
        expanded: every stage after the first is expanded, as in the MobileNetV2 family.
    """

    logit: Array
    x: Array
    columns: Array
    expanded: Mask
    features: Mapping[str, Array]


def accel_nasbench(path: Path, coefficients: Coefficients) -> RandomNetworks:
    """The 5,138 networks of Accel-NASBench.

    Source of the layout: afzalxo/Accel-NASBench; the parameters counted here equal the table's.
    """
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    counted = np.array([_count(row) for row in rows])
    for row, (_, params, *_rest, gates) in zip(rows, counted, strict=True):
        if abs(params + gates + 1_281_000 - 1e6 * float(row["params_m"])) > 1:
            raise ValueError(f"network {row['id']}: counted {params + gates} parameters, not {row['params_m']} M")
    names = ("madds", "body_params", "blocks", "large_kernel_share", "se_share", "unexpanded_share")
    features = dict(zip(names, counted.T[:6], strict=True)) | {"resolution": np.full(len(rows), 224.0)}
    top1 = np.array([float(row["top1"]) for row in rows]) / 100
    ship = terms_many(features, coefficients)
    x, p, d = np.log(features["madds"] / 3e8), ship[:, TERMS.index("p")], ship[:, TERMS.index("d")]
    unexpanded = features["unexpanded_share"]
    own = np.c_[np.ones(len(rows)), x, x**2, unexpanded * p, unexpanded * d]
    return RandomNetworks(
        logit=np.log(top1 / (1 - top1)),
        x=x,
        columns=np.c_[ship, np.zeros((len(rows), len(NUISANCE))), own],
        expanded=unexpanded == 0,
        features=features,
    )


def _count(row: dict[str, str]) -> tuple[float, ...]:
    """Multiply-adds, body params, blocks, large-kernel, SE and unexpanded share, SE params."""
    strides, inputs, outputs = (1, 2, 2, 2, 1, 2, 1), (32, 16, 24, 40, 80, 112, 192), (16, 24, 40, 80, 112, 192, 320)
    side = 112
    madds, params = 864 * side**2, 864 + 64
    blocks = large = gated = gates = unexpanded = 0
    for stage in range(7):
        expansion, kernel, layers, gate = (int(row[f"b{stage}_{what}"]) for what in ("e", "k", "l", "se"))
        for layer in range(layers):
            c_in, stride = (inputs[stage], strides[stage]) if layer == 0 else (outputs[stage], 1)
            hidden, c_out, out = c_in * expansion, outputs[stage], side // stride
            if expansion > 1:
                madds += c_in * hidden * side**2
                params += c_in * hidden + 2 * hidden
            madds += (hidden * kernel**2 + hidden * c_out) * out**2
            params += hidden * kernel**2 + hidden * c_out + 2 * hidden + 2 * c_out
            gates += gate * (2 * hidden * max(1, c_in // 4) + hidden + max(1, c_in // 4))
            side = out
        blocks += layers
        large += layers * (kernel >= 5)
        gated += layers * gate
        unexpanded += stage > 0 and expansion == 1
    madds += 320 * 1280 * side**2 + 1280 * 1000
    params += 320 * 1280 + 2 * 1280
    return (madds, params, blocks, large / blocks, gated / blocks, unexpanded / 6, gates)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Rows of the regression: published results, and the random networks compressed to as many rows as columns."""

    table: Table
    random: tuple[Array, Array] | None

    def without(self, mask: Mask) -> Evidence:
        """The evidence without the published results of the mask."""
        return replace(self, table=self.table.only(~mask))


def compressed(networks: RandomNetworks, rows: Mask | None = None) -> tuple[Array, Array]:
    """Rows of unit noise with the same information on the coefficients as all networks (R of a QR decomposition)."""
    use = np.ones(len(networks.logit), bool) if rows is None else rows
    r: Array = np.asarray(np.linalg.qr(np.c_[networks.columns, networks.logit][use], mode="r")) / TABLE_NOISE
    return r[:, :-1], r[:, -1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Posterior:
    """Posterior of all coefficients: mean (K,) and covariance (K, K)."""

    mean: Array
    covariance: Array
    spread: Spread

    def variance(self, deltas: Array, *, slopes: float = 1.0) -> Array:
        """Variance of `deltas @ w`, (N,), in a group and a recipe that were not fitted.

        Args:
            deltas: (N, K).
            slopes: share of the variance of slopes between groups to include.
        """
        spread = between_variances(self.spread, slopes=slopes)
        return np.asarray(np.einsum("ni,ij,nj->n", deltas, self.covariance, deltas) + deltas**2 @ spread)


def between_variances(spread: Spread, *, slopes: float = 1.0) -> Array:
    """Variances of the coefficients between groups and recipes, (K,)."""
    found = np.zeros(len(COLUMNS))
    found[list(SLOPES)] = slopes * np.array([spread.cost, spread.side, spread.side_cost]) ** 2
    found[STRUCTURE] = (spread.structure * STRUCTURE_SHARE) ** 2
    return found


def posterior(evidence: Evidence, spread: Spread) -> Posterior:
    """The coefficients given the standard deviations."""
    design, values, noise = _system(evidence, spread)
    factor = cho_factor(noise, lower=True)
    precision = design.T @ cho_solve(factor, design) + np.diag(1 / PRIOR_SD**2)
    covariance = np.linalg.inv(precision)
    return Posterior(mean=covariance @ (design.T @ cho_solve(factor, values)), covariance=covariance, spread=spread)


def likelihood_gap(evidence: Evidence, spread: Spread) -> float:
    """By how much the best standard deviations of `FITTED_SPREADS` raise the logarithm of the marginal likelihood."""

    def spread_of(logs: Array) -> Spread:
        return replace(spread, **dict(zip(FITTED_SPREADS, np.exp(logs).tolist(), strict=True)))

    found = minimize(
        lambda logs: -_log_likelihood(evidence, spread_of(logs)),
        np.log([getattr(spread, name) for name in FITTED_SPREADS]),
        method="L-BFGS-B",
        bounds=[(math.log(0.003), math.log(0.5))] * len(FITTED_SPREADS),
    )
    return float(-found.fun - _log_likelihood(evidence, spread))


def _log_likelihood(evidence: Evidence, spread: Spread) -> float:
    design, values, noise = _system(evidence, spread)
    lower = cholesky(noise + (design * PRIOR_SD**2) @ design.T, lower=True)
    whitened = solve_triangular(lower, values, lower=True)
    return float(-0.5 * whitened @ whitened - np.log(np.diag(lower)).sum())


def _system(evidence: Evidence, spread: Spread) -> tuple[Array, Array, Array]:
    """Design, values, and the covariance of everything but the coefficients."""
    table = evidence.table
    columns = table.columns
    same_recipe = (table.recipes[:, None] == table.recipes[None, :]).astype(float)
    same_group = (table.groups[:, None] == table.groups[None, :]).astype(float)
    structure = columns[:, STRUCTURE] * STRUCTURE_SHARE
    slopes = columns[:, list(SLOPES)] * [spread.cost, spread.side, spread.side_cost]
    noise = same_recipe * (spread.recipe**2 + spread.structure**2 * structure @ structure.T)
    noise += same_group * (spread.group**2 + slopes @ slopes.T)
    noise[np.diag_indices_from(noise)] += spread.noise**2
    if evidence.random is None:
        return columns, table.logit, noise
    design, values = evidence.random
    own = design[:, STRUCTURE] * STRUCTURE_SHARE
    whole = np.zeros((len(noise) + len(values),) * 2)
    whole[: len(noise), : len(noise)] = noise
    whole[len(noise) :, len(noise) :] = np.eye(len(values)) + spread.table**2 * own @ own.T
    return np.r_[columns, design], np.r_[table.logit, values], whole


def share(logits: Any) -> Array:
    """Logits as 0 to 1."""
    return np.asarray(1 / (1 + np.exp(-np.asarray(logits))))


def network(features: Mapping[str, Array], row: int) -> Features:
    """One row as the estimate's features."""
    return Features(**{f.name: features[f.name][row] for f in fields(Features) if f.name in features})
