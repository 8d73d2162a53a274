"""Fits the ImageNet estimate, compares the shipped coefficients with the fit, and reports its accuracy.

    python benchmarks/imagenet_estimate.py               refit, compare with the shipped coefficients, report
    python benchmarks/imagenet_estimate.py --write       write the coefficients that ship
    python benchmarks/imagenet_estimate.py --json        the same report as one JSON document
    python benchmarks/imagenet_estimate.py --plot FILE   draw gains of left-out recipes, estimated against published

The published figures ship in `mnv2search/accuracy/published.csv`. The table of Accel-NASBench does not: it is
looked for in `$MNV2SEARCH_SHARED` and in `../shared/data`, and nothing can be fitted without it. Deterministic, one
core, under a minute. Exits with 1 if a target is missed or the shipped coefficients differ from the fit.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import imagenet_checks as checks
import imagenet_fit as f

from mnv2search.accuracy.estimate import TERMS, Z_90, Coefficients

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT / "mnv2search" / "accuracy" / "coefficients.json"
PUBLISHED = ROOT / "mnv2search" / "accuracy" / "published.csv"
SIGNIFICANT_DIGITS = 6
# Of the cost term; the likelihood is flat from 0.28 to 0.36.
CURVATURE = 0.31
# Log body parameters and log blocks of the 47 reference networks as functions of x and l; the slopes of the
# parameters are those of a change in width or in resolution alone.
TYPICAL_PARAMS = (14.628, 1.0, -2.0)
TYPICAL_BLOCKS = (2.907, 0.087, -0.097)
SOURCES = {
    "level": "all recipes, by their mean",
    "cost": "width and resolution grids",
    "log side": "width and resolution grids, named families",
    "log side squared": "width and resolution grids",
    "log side x": "width and resolution grids",
    "p": "Accel-NASBench and differences between families",
    "p squared": "Accel-NASBench and differences between families",
    "d": "Accel-NASBench, scaling in depth",
    "d squared": "Accel-NASBench, scaling in depth",
    "large kernels": "Accel-NASBench",
    "squeeze-excite": "Accel-NASBench, families with and without",
    "unexpanded": "Accel-NASBench",
}


def shared() -> Path:
    """The folder of the data that does not ship."""
    return Path(os.environ.get("MNV2SEARCH_SHARED", ROOT.parent / "shared" / "data"))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--write", action="store_true", help="write the coefficients that ship")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw estimated against published gains")
    options = parser.parse_args()
    path = shared() / "tables" / "accel_nasbench.csv.gz"
    if not path.exists():
        print(
            f"error: there is no {path}\nhint: name the folder that holds tables/ by MNV2SEARCH_SHARED",
            file=sys.stderr,
        )
        return 2
    form = _form()
    table, networks = f.published(PUBLISHED, form), f.accel_nasbench(path, form)
    evidence = f.Evidence(table=table, random=f.compressed(networks))
    spread = f.Spread()
    pairs = checks.pairs_left_out(evidence, spread, table.recipes)
    slopes, noise = checks.calibrated(table, pairs, spread)
    fresh = refit(evidence, networks, spread, slopes, noise)
    old = json.loads(SHIPPED.read_text(encoding="utf-8")) if SHIPPED.exists() else {}
    if options.write:
        SHIPPED.write_text(json.dumps(fresh, indent=1) + "\n", encoding="utf-8")
        old = fresh
    report = reported(evidence, networks, spread, pairs, slopes, noise)
    report["spread"] = {name: rounded(getattr(spread, name)) for name in f.Spread.__dataclass_fields__}
    report["likelihood_gap"] = f.likelihood_gap(evidence, spread)
    report["coefficients"] = fresh
    report["differs"] = [name for name in fresh if not same(fresh[name], old.get(name))]
    report["missed"] = missed(report)
    if options.plot:
        plot(options.plot, table, pairs, spread, slopes, noise)
    print(json.dumps(report, indent=2)) if options.json else show(report)
    return 1 if report["missed"] or report["differs"] else 0


def _form() -> Coefficients:
    """The formula without its coefficients."""
    return Coefficients(
        mean=(),
        covariance=(),
        curvature=CURVATURE,
        recipe_sd=0.0,
        noise_sd=0.0,
        typical_params=TYPICAL_PARAMS,
        typical_blocks=TYPICAL_BLOCKS,
        covered_sd=0.0,
        ranges={},
    )


def refit(
    evidence: f.Evidence, networks: f.RandomNetworks, spread: f.Spread, slopes: float, noise: float
) -> dict[str, Any]:
    """The shipped coefficients, rounded as they ship."""
    made = f.posterior(evidence, spread)
    count = len(TERMS)
    covariance = made.covariance + np.diag(f.between_variances(spread, slopes=slopes))
    table = evidence.table
    terms = table.columns[:, :count]
    apart = terms - typical_terms(table, made)
    covered = np.sqrt(np.einsum("ni,ij,nj->n", apart, covariance[:count, :count], apart))
    expanded = networks.columns[networks.expanded]
    ranges = {"madds": (table.madds.min(), table.madds[table.madds < 5e9].max())}
    ranges["resolution"] = (table.resolution.min(), table.resolution[table.madds < 5e9].max())
    for name, at in (("params_ratio", TERMS.index("p")), ("blocks_ratio", TERMS.index("d"))):
        both = np.exp(np.r_[terms[:, at], np.quantile(expanded[:, at], [0.01, 0.99])])
        ranges[name] = (float(both.min()), float(both.max()))
    ranges["largest_kernel"] = (3.0, 5.0)
    return {
        "terms": list(TERMS),
        "sources": SOURCES,
        "mean": rounded(made.mean[:count]),
        "covariance": [rounded(row) for row in covariance[:count, :count]],
        "curvature": CURVATURE,
        "recipe_sd": rounded(float(np.hypot(recipe_sd(evidence, made), spread.group))),
        "noise_sd": rounded(noise),
        "typical_params": list(TYPICAL_PARAMS),
        "typical_blocks": list(TYPICAL_BLOCKS),
        "covered_sd": rounded(np.quantile(covered, 0.95)),
        "ranges": {name: [rounded(low), rounded(high)] for name, (low, high) in ranges.items()},
    }


def typical_terms(table: f.Table, made: f.Posterior) -> f.Array:
    """The terms of the typical network of each cost: at its best published resolution, of typical structure."""
    by_side, squared, by_cost = (made.mean[TERMS.index(name)] for name in TERMS[2:5])
    low, high = np.log(table.resolution.min() / 224), np.log(table.resolution.max() / 224)
    side = np.clip(-(by_side + by_cost * table.x) / (2 * squared), low, high)
    found = np.zeros((len(table.x), len(TERMS)))
    found[:, :2] = table.columns[:, :2]
    found[:, 2:5] = np.c_[side, side**2, side * table.x]
    return found


def recipe_sd(evidence: f.Evidence, made: f.Posterior) -> float:
    """Root mean square deviation of the reference recipes from the standard level, without recipe covariates."""
    table = evidence.table
    residual = table.logit - table.columns[:, : len(TERMS)] @ made.mean[: len(TERMS)]
    means = [
        residual[(table.recipes == r) & table.reference].mean() for r in np.unique(table.recipes[table.reference])
    ]
    return float(np.sqrt(np.mean(np.square(means))))


def reported(
    evidence: f.Evidence,
    networks: f.RandomNetworks,
    spread: f.Spread,
    pairs: checks.Pairs,
    slopes: float,
    noise: float,
) -> dict[str, Any]:
    """All checks."""
    table = evidence.table
    report: dict[str, Any] = {"published": len(table.top1), "groups": len(np.unique(table.groups))}
    report["recipes"] = len(np.unique(table.recipes))
    report["slopes_share"], report["noise"] = slopes, noise
    report["level"] = level_report(evidence, spread)
    report["order_across_recipes"] = checks.order_across_recipes(evidence, spread)
    cuts = {"recipe": table.recipes, "architecture": table.architectures, "source": table.sources}
    for name, by in cuts.items():
        held = pairs if name == "recipe" else checks.pairs_left_out(evidence, spread, by)
        report[f"gains, {name} left out"] = {
            "pairs": {kind: int(mask.sum()) for kind, mask in checks.kinds_of(table, held).items()},
            "coverage": checks.coverage(table, held, spread, slopes=slopes, noise=noise),
            "order": checks.order(table, held),
            "winners": checks.winners_of_groups(table, held, spread, slopes=slopes),
        }
    alone = f.posterior(f.Evidence(table=table, random=None), spread)
    made = f.posterior(evidence, spread)
    every = np.ones(len(networks.x), bool)
    report["winners"] = {}
    for among in (20, 200):
        for name, fit, rows in (
            ("Accel-NASBench left out, expanded networks", alone, networks.expanded),
            ("Accel-NASBench left out, all networks", alone, every),
            ("Accel-NASBench fitted, expanded networks", made, networks.expanded),
            ("Accel-NASBench fitted, all networks", made, every),
        ):
            report["winners"][f"best of {among}, {name}"] = checks.winners(
                fit, networks, rows, among=among, slopes=slopes, noise=noise
            )
    report["supernets"] = checks.supernet_gains(PUBLISHED)
    report["unseen"] = checks.unseen_networks()
    report["parameters_at_equal_madds"] = checks.parameters_at_equal_madds(networks, shared())
    report["cpu_us"] = checks.cpu_us()
    return report


def level_report(evidence: f.Evidence, spread: f.Spread) -> dict[str, float]:
    """Absolute errors in points, with the estimated results held out."""
    table = evidence.table
    logits, _ = checks.levels_left_out(evidence, spread, table.architectures)
    errors = 100 * np.abs(f.share(logits) - table.top1)[table.reference]
    by_recipe, sds = checks.levels_left_out(evidence, spread, table.recipes)
    left = 100 * np.abs(f.share(by_recipe) - table.top1)
    groups = [left[table.groups == group].mean() for group in np.unique(table.groups)]
    inside = np.abs(by_recipe - table.logit) <= Z_90 * sds
    return {
        "reference_networks": int(table.reference.sum()),
        "family_out_mean_points": float(errors.mean()),
        "family_out_p90_points": float(np.quantile(errors, 0.9)),
        "family_out_spearman": checks.spearman(logits[table.reference], table.logit[table.reference]),
        "recipe_out_mean_points": float(left.mean()),
        "recipe_out_mean_of_groups_points": float(np.mean(groups)),
        "recipe_out_coverage": float(inside.mean()),
    }


def missed(report: dict[str, Any]) -> list[str]:
    """The targets that are not reached, in words."""
    found = []
    level, held = report["level"], report["gains, recipe left out"]
    if level["family_out_mean_points"] > 0.6:
        found.append(f"level: mean error {level['family_out_mean_points']:.2f} points with the family left out")
    if level["recipe_out_mean_of_groups_points"] > 0.85:
        found.append(f"level: mean error over groups {level['recipe_out_mean_of_groups_points']:.2f} points")
    for kind, least in (("different resolution", 0.75), ("one resolution", 0.88)):
        row = held["order"][f"{kind}, within 15 %"]
        if row["clear_right"] < least * row["clear"]:
            found.append(f"order, {kind}: {row['clear_right']} of {row['clear']}")
    for kind in checks.KINDS:
        if not 0.88 <= held["coverage"][kind] <= 0.94:
            found.append(f"interval of gains, {kind}: covers {held['coverage'][kind]:.1%}")
    if report["likelihood_gap"] > 0.5:
        found.append(f"standard deviations: others are more likely by {report['likelihood_gap']:.2f} in logarithm")
    for name, row in report["winners"].items():
        if "expanded" in name and abs(row["difference_points"]) > 0.3:
            found.append(f"{name}: {row['difference_points']:+.2f} points")
    return found


def show(report: dict[str, Any]) -> None:
    """Print the report for people."""
    for name, value in report.items():
        if isinstance(value, dict):
            print(f"\n{name}")
            _show_rows(value, 2)
        elif name == "unseen":
            _show_unseen(value)
        elif name not in ("differs", "missed"):
            print(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}")
    state = "differ: " + ", ".join(report["differs"]) if report["differs"] else "equal the fit"
    print(f"\nshipped coefficients {state}")
    print(f"targets {'missed: ' + '; '.join(report['missed']) if report['missed'] else 'reached'}")


def _show_unseen(rows: list[dict[str, Any]]) -> None:
    errors = [abs(row["published"] - row["estimated"]) for row in rows]
    print(f"\nnetworks no fit has seen, mean error {100 * float(np.mean(errors)):.2f} points")
    for row in rows:
        state = "inside" if row["inside"] else "OUTSIDE"
        print(f"  {row['name']:22} {row['published']:.3f} estimated {row['estimated']:.3f} {state}  {row['note']}")


def _show_rows(rows: dict[str, Any], indent: int) -> None:
    for name, value in rows.items():
        if isinstance(value, dict) and not all(isinstance(v, int | float) for v in value.values()):
            print(f"{' ' * indent}{name}")
            _show_rows(value, indent + 2)
        elif isinstance(value, dict):
            inner = ", ".join(f"{k} {v:.4g}" for k, v in value.items())
            print(f"{' ' * indent}{name}: {inner}")
        elif name != "covariance":
            print(
                f"{' ' * indent}{name} {value:.4g}" if isinstance(value, float) else f"{' ' * indent}{name} {value}"
            )


def plot(path: Path, table: f.Table, pairs: checks.Pairs, spread: f.Spread, slopes: float, noise: float) -> None:
    """Plot estimated against published gains, and the calibration of the intervals."""
    import matplotlib
    from scipy.stats import norm

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
    levels = np.linspace(0.05, 0.99, 40)
    sd = np.sqrt(pairs.variance(spread, slopes=slopes, noise=noise))
    for (name, mask), marker in zip(checks.kinds_of(table, pairs).items(), "o^s", strict=True):
        kept = mask & (np.abs(pairs.true) < 0.5)
        base = f.share(table.logit[pairs.second][kept])
        true = 100 * (f.share(table.logit[pairs.second][kept] + pairs.true[kept]) - base)
        said = 100 * (f.share(table.logit[pairs.second][kept] + pairs.estimated[kept]) - base)
        if "equal" not in name:
            left.scatter(
                said, true, s=7, marker=marker, alpha=0.45, label=f"{name}: {mask.sum()} pairs", linewidths=0
            )
        z = np.abs(pairs.true - pairs.estimated)[mask] / sd[mask]
        right.plot(100 * levels, [100 * float((z <= norm.ppf(0.5 + q / 2)).mean()) for q in levels], label=name)
    left.axline((0, 0), slope=1, color="grey", linewidth=0.8)
    left.set(xlabel="estimated gain, points of top-1", ylabel="published gain, points of top-1")
    left.set_title("Pairs of one recipe, the recipe left out of the fit", fontsize=10)
    right.plot([0, 100], [0, 100], color="grey", linewidth=0.8)
    right.set(xlabel="nominal probability of the interval, %", ylabel="pairs inside it, %")
    right.set_title("Calibration of the intervals of gains", fontsize=10)
    left.legend(fontsize=8)
    right.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def rounded(value: Any) -> Any:
    """To the digits that ship."""
    if np.ndim(value):
        return [rounded(v) for v in value]
    return float(f"{float(value):.{SIGNIFICANT_DIGITS}g}")


def same(one: Any, other: Any) -> bool:
    """Whether values agree to a thousandth, whatever the linear algebra of the machine."""
    if other is None or isinstance(one, str):
        return bool(one == other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list) and one and isinstance(one[0], str):
        return bool(one == other)
    return bool(np.allclose(one, other, rtol=1e-3, atol=1e-6))


if __name__ == "__main__":
    raise SystemExit(main())
