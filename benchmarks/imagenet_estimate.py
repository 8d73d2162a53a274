"""Fits the ImageNet estimate, checks what ships against the fit, and prints what the estimate is worth.

    python benchmarks/imagenet_estimate.py            refit, compare with the shipped coefficients, report
    python benchmarks/imagenet_estimate.py --write    write the coefficients that ship
    python benchmarks/imagenet_estimate.py --json     the same report as one JSON document

The published figures ship in `mnv2search/accuracy/published.csv`. The table of Accel-NASBench does not: it is
looked for in `$MNV2SEARCH_SHARED` and in `../shared/data`; without it the shipped structure coefficients are taken
as they are and only the rest is refitted. Deterministic, one core, a few seconds. Exit 1 where a target is missed
or the shipped coefficients differ from the fit.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import imagenet_checks as checks
import imagenet_fit as f

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT / "mnv2search" / "accuracy" / "coefficients.json"
PUBLISHED = ROOT / "mnv2search" / "accuracy" / "published.csv"
# Pairs of table networks count as of equal multiply-adds within 5 %, published ones of one recipe at any.
EQUAL_LOG_MADDS = 0.05
PAIRS = 200_000
SIGNIFICANT_DIGITS = 6
TARGETS = {"level_mean_points": 1.0, "order_share": 0.86, "coverage": 0.9}


def shared() -> Path:
    """The folder of the data that does not ship."""
    return Path(os.environ.get("MNV2SEARCH_SHARED", ROOT.parent / "shared" / "data"))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--write", action="store_true", help="write the coefficients that ship")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    table, fitted, gated = f.published(PUBLISHED)
    anb_path = shared() / "tables" / "accel_nasbench.csv.gz"
    anb = f.accel_nasbench(anb_path) if anb_path.exists() else None
    old = json.loads(SHIPPED.read_text(encoding="utf-8")) if SHIPPED.exists() else {}
    points = table.only(fitted)
    weights = f.fit_structure(anb[0])[0] if anb else np.array(old["structure"])
    fresh = refit(table, fitted, weights, anb, old)
    if options.write:
        SHIPPED.write_text(json.dumps(fresh, indent=2) + "\n", encoding="utf-8")
        old = fresh
    report: dict[str, Any] = {"accel_nasbench": anb is not None, "published_points": len(points.top1)}
    report["coefficients"] = fresh
    report["differs"] = [name for name in fresh if not same(fresh[name], old.get(name))]
    report["level"] = level_report(points, weights)
    report["order"] = [order_report(points, weights, name, ratio) for name, ratio in f.READINGS.items()]
    report["gain"] = gain_report(points, weights, fresh, anb)
    report["other_recipes"] = other_report(table, fitted, gated, f.fit(points, weights))
    report["unseen"] = checks.unseen_networks()
    report["parameters_at_equal_madds"] = checks.parameters_at_equal_madds(anb and anb[0], shared())
    report["cpu_us"] = checks.cpu_us(points)
    report["missed"] = missed(report)
    print(json.dumps(report, indent=2)) if options.json else show(report)
    return 1 if report["missed"] or report["differs"] else 0


def refit(
    table: f.Table, fitted: f.Mask, weights: f.Array, anb: tuple[f.Table, f.Mask] | None, old: dict[str, Any]
) -> dict[str, Any]:
    """Everything that ships, rounded as it ships."""
    points = table.only(fitted)
    made = f.fit(points, weights)
    half = f.conformal(
        points.logit - f.leave_family_out(points, lambda rows: f.fit(points, weights, rows).logit(points))
    )
    slope_end = -made.level[1] / (2 * made.level[2]) if made.level[2] < 0 else math.inf
    ranges = covered(points, made, anb) if anb else {n: tuple(v) for n, v in old["ranges"].items()}
    factor, within = gain_basis(anb) if anb else (old["gain_shrink"], old["gain_half_width"])
    half_gain, per_side = gain_half_widths(points, weights, factor, within)
    values = {
        "level": made.level,
        "structure": weights,
        "typical": made.typical,
        "level_x": (points.x.min(), min(points.x.max(), slope_end)),
        "half_width": half,
        "gain_shrink": factor,
        "gain_half_width": half_gain,
        "gain_per_log_side": per_side,
        "outside_per_log": outside_growth(table, fitted, made, half, ranges),
    }
    return {name: rounded(value) for name, value in values.items()} | {
        "ranges": {name: outward(low, high) for name, (low, high) in ranges.items()}
    }


def covered(points: f.Table, made: f.Fit, anb: tuple[f.Table, f.Mask]) -> dict[str, tuple[float, float]]:
    """What published networks and the table's fully expanded ones span; departures without the outermost 1 %."""
    expanded = anb[0].only(anb[1])
    ranges = {"madds": (points.madds.min(), points.madds.max())}
    ranges["resolution"] = (points.resolution.min(), points.resolution.max())
    for column, name in enumerate(("body_params", "activations", "blocks")):
        both = np.exp(np.r_[points.structure[:, column], expanded.structure[:, column]])
        ranges[name] = (float(both.min()), float(both.max()))
    outer = np.quantile(made.departure(expanded), [0.01, 0.99])
    own = made.departure(points)
    ranges["departure"] = (min(outer[0], own.min()), max(outer[1], own.max()))
    ranges["largest_kernel"] = (3.0, 5.0)
    return ranges


def gain_basis(anb: tuple[f.Table, f.Mask]) -> tuple[float, float]:
    """Shrinkage and half-width of differences from held-out pairs of fully expanded table networks."""
    held_out, structure = f.cross_validated(anb[0])
    del held_out
    factor = f.shrink(anb[0], anb[1], structure)
    return factor, f.conformal(table_pairs(anb, structure, factor))


def table_pairs(anb: tuple[f.Table, f.Mask], structure: f.Array, factor: float) -> f.Array:
    """True minus estimated differences of random pairs of about equal multiply-adds."""
    table, expanded = anb
    rng, index = np.random.default_rng(0), np.flatnonzero(expanded)
    i, j = rng.choice(index, PAIRS), rng.choice(index, PAIRS)
    near = (np.abs(table.x[i] - table.x[j]) <= EQUAL_LOG_MADDS) & (i != j)
    i, j = i[near], j[near]
    return np.asarray(table.logit[i] - table.logit[j] - factor * (structure[i] - structure[j]))


def published_pairs(points: f.Table, weights: f.Array, factor: float) -> f.Array:
    """True minus estimated differences within recipes, each by fits without the family."""
    level, departure = np.empty(len(points.top1)), np.empty(len(points.top1))
    for family in np.unique(points.families):
        held = points.families == family
        made = f.fit(points, weights, ~held)
        level[held], departure[held] = made.level_of(points)[held], made.departure(points)[held]
    return f.pair_residuals(points, level, departure, factor, math.inf)


def gain_half_widths(points: f.Table, weights: f.Array, factor: float, within: float) -> tuple[float, float]:
    """Half-width at one resolution, the larger of both tables', and what a difference in resolution adds."""
    pairs = published_pairs(points, weights, factor)
    alike = pairs[:, 1] == 0
    base = max(within, f.conformal(pairs[alike, 0]))
    apart = pairs[~alike]
    needed = np.sqrt(np.maximum(0.0, apart[:, 0] ** 2 - base**2)) / apart[:, 1]
    return base, f.conformal(needed)


def outside_growth(
    table: f.Table, fitted: f.Mask, made: f.Fit, half: float, ranges: dict[str, tuple[float, float]]
) -> float:
    """Growth of the error per log distance, from the attention-free MobileNetV2s left out of the fit."""
    left_out = table.only((table.families == "dli_mbv2") & ~fitted)
    values = {"madds": left_out.madds, "resolution": left_out.resolution}
    values |= {
        name: np.exp(left_out.structure[:, i]) for i, name in enumerate(("body_params", "activations", "blocks"))
    }
    distance = sum(
        np.maximum(0.0, np.maximum(np.log(ranges[n][0] / v), np.log(v / ranges[n][1]))) for n, v in values.items()
    )
    departure = made.departure(left_out)
    beyond = np.maximum(0.0, np.maximum(ranges["departure"][0] - departure, departure - ranges["departure"][1]))
    error = np.abs(made.logit(left_out) - left_out.logit) - half - beyond
    return float(np.max(np.maximum(0.0, error) / distance))


def level_report(points: f.Table, weights: f.Array) -> dict[str, float]:
    """Errors in points, leaving one family out."""

    def predict(rows: f.Mask) -> f.Array:
        return f.fit(points, weights, rows).logit(points)

    logits = f.leave_family_out(points, predict)
    errors = 100 * np.abs(f.share(logits) - points.top1)
    alone = 100 * np.abs(f.share(f.leave_family_out(points, lambda rows: f.curve(points, rows))) - points.top1)
    made = f.fit(points, weights)
    parts = [points.x, *points.structure[:, :3].T, points.r, made.departure(points)]
    ends = f.ends_held_out(points, weights, parts)
    return {
        "mean_points": float(errors.mean()),
        "p90_points": float(np.quantile(errors, 0.9)),
        "spearman": f.spearman(logits, points.top1),
        "madds_alone_mean_points": float(alone.mean()),
        "interval_half_width_logit": f.conformal(points.logit - logits),
        "interval_coverage_nested": f.nested_coverage(points, weights),
        "ends_held_out_p90_logit": float(np.quantile(np.abs(ends), 0.9)),
    }


def order_report(points: f.Table, weights: f.Array, name: str, ratio: float) -> dict[str, Any]:
    """How many pairs each score orders, with both families of a pair left out of the fit."""

    @cache
    def without(one: str, other: str, alone: bool) -> f.Array:
        rows = (points.families != one) & (points.families != other)
        return f.curve(points, rows) if alone else f.fit(points, weights, rows).logit(points)

    def held_out(alone: bool) -> Any:
        return lambda i, j: without(*sorted((str(points.families[i]), str(points.families[j]))), alone)

    full = f.fit(points, weights).logit(points)
    pairs = f.comparable(points, ratio)
    decidable = [pair for pair in pairs if not f.same_network(points, pair)]
    scores = {
        "estimate_both_families_out": held_out(False),
        "estimate_as_shipped": f.always(full),
        "body_params": f.always(points.structure[:, 0]),
        "madds": f.always(points.x),
        "curve_both_families_out": held_out(True),
    }
    each_out = f.leave_family_out(points, lambda rows: f.curve(points, rows))
    counts = {score: f.ordered(points, decidable, logits) for score, logits in scores.items()}
    counts["curve_each_family_out"] = f.ordered(points, decidable, f.always(each_out))
    return {"reading": name, "pairs": len(pairs), "of_one_network": len(pairs) - len(decidable)} | {
        "decidable": len(decidable),
        **counts,
    }


def gain_report(
    points: f.Table, weights: f.Array, fresh: dict[str, Any], anb: tuple[f.Table, f.Mask] | None
) -> dict[str, Any]:
    """Coverage of the interval of differences, on pairs that its fits have not seen."""
    pairs = published_pairs(points, weights, fresh["gain_shrink"])
    half = np.hypot(fresh["gain_half_width"], fresh["gain_per_log_side"] * pairs[:, 1])
    report: dict[str, Any] = {"published_pairs_of_one_recipe": len(pairs)}
    report["published_coverage"] = float((np.abs(pairs[:, 0]) <= half).mean())
    alike = pairs[:, 1] == 0
    report["published_coverage_same_resolution"] = float((np.abs(pairs[alike, 0]) <= half[alike]).mean())
    report["half_width_points_at_75"] = float(
        100 * (f.share(np.log(3) + np.array([fresh["gain_half_width"]])) - 0.75)[0]
    )
    if anb:
        structure = f.cross_validated(anb[0])[1]
        residuals = table_pairs(anb, structure, fresh["gain_shrink"])
        report["table_coverage"] = float((np.abs(residuals) <= fresh["gain_half_width"]).mean())
        held_out = f.cross_validated(anb[0])[0]
        report["table_spearman_held_out"] = f.spearman(held_out, anb[0].top1)
        report["table_expanded_networks"] = int(anb[1].sum())
        report |= checks.gains_of_the_picked(anb, structure, fresh["gain_shrink"], fresh["gain_half_width"])
    return report


def other_report(table: f.Table, fitted: f.Mask, gated: f.Mask, made: f.Fit) -> dict[str, dict[str, float]]:
    """Published minus estimated top-1, in points, of what the fit leaves out."""
    groups = {"attention-free, long recipes (mbv1, mbv4)": np.isin(table.families, ["mbv1", "mbv4"])}
    groups["width 0.25 and 0.1"] = (table.families == "dli_mbv2") & ~fitted
    groups["squeeze-excite (counted as in every block)"] = gated
    report = {}
    for name, rows in groups.items():
        part = table.only(rows)
        errors = 100 * (part.top1 - f.share(made.logit(part)))
        report[name] = {
            "networks": len(errors),
            "mean_points": float(errors.mean()),
            "sd_points": float(errors.std()),
        }
    return report


def missed(report: dict[str, Any]) -> list[str]:
    """The targets that are not reached, in words."""
    found = []
    if report["level"]["mean_points"] > TARGETS["level_mean_points"]:
        found.append(f"level: mean error {report['level']['mean_points']:.2f} points")
    if report["level"]["interval_coverage_nested"] < TARGETS["coverage"]:
        found.append(f"interval: covers {report['level']['interval_coverage_nested']:.1%}")
    errors = [abs(row["published"] - row["estimated"]) for row in report["unseen"]]
    if 100 * float(np.mean(errors)) > TARGETS["level_mean_points"]:
        found.append(f"unseen networks: mean error {100 * float(np.mean(errors)):.2f} points")
    for row in report["order"]:
        if row["estimate_both_families_out"] < TARGETS["order_share"] * row["decidable"]:
            found.append(f"order, {row['reading']}: {row['estimate_both_families_out']} of {row['decidable']}")
    return found


def show(report: dict[str, Any]) -> None:
    """Prints the report for people."""
    level = report["level"]
    source = "read" if report["accel_nasbench"] else "absent, its shipped coefficients are taken as they are"
    print(f"published points {report['published_points']}, Accel-NASBench {source}")
    print("\nlevel, one family left out")
    for name, value in level.items():
        print(f"  {name:32} {value:8.4f}")
    print("\norder of pairs at equal multiply-adds, more than half a point apart")
    for row in report["order"]:
        print(f"  {row['reading']}: {row['pairs']} pairs, {row['of_one_network']} of them one network trained twice")
        for name in list(row)[4:]:
            print(f"    {name:32} {row[name]:3d} of {row['decidable']} = {row[name] / row['decidable']:.1%}")
    print("\ngain of one network over another, same recipe")
    for name, value in report["gain"].items():
        print(f"  {name:36} {value:.4g}")
    print("\npublished minus estimated, outside the fit")
    for name, row in report["other_recipes"].items():
        print(
            f"  {name:44} {row['networks']:3d} networks {row['mean_points']:+6.2f} points, sd {row['sd_points']:.2f}"
        )
    errors = [abs(row["published"] - row["estimated"]) for row in report["unseen"]]
    print(f"\nnetworks no fit has seen, mean error {100 * float(np.mean(errors)):.2f} points")
    for row in report["unseen"]:
        state = "inside" if row["inside"] else "OUTSIDE"
        print(f"  {row['name']:22} {row['published']:.3f} estimated {row['estimated']:.3f} {state}  {row['note']}")
    print("\nparameters against accuracy at equal multiply-adds, Spearman")
    for name, value in report["parameters_at_equal_madds"].items():
        print(f"  {name:36} {value:+.2f}")
    print("\nCPU time of a network in microseconds")
    for name, value in report["cpu_us"].items():
        print(f"  {name:28} {value:.2f}")
    print("\ncoefficients")
    for name, value in report["coefficients"].items():
        print(f"  {name:20} {value}")
    state = "differ: " + ", ".join(report["differs"]) if report["differs"] else "equal the fit"
    print(f"\nshipped coefficients {state}")
    print(f"targets {'missed: ' + '; '.join(report['missed']) if report['missed'] else 'reached'}")


def rounded(value: Any) -> Any:
    """To the digits that ship."""
    if np.ndim(value):
        return [rounded(v) for v in value]
    return float(f"{float(value):.{SIGNIFICANT_DIGITS}g}")


def outward(low: float, high: float) -> list[float]:
    """A range at the digits that ship, never narrower than it was."""
    ends = []
    for value, rounding in ((low, math.floor), (high, math.ceil)):
        unit = 10.0 ** (math.floor(math.log10(abs(value))) + 1 - SIGNIFICANT_DIGITS)
        ends.append(rounded(rounding(value / unit - (1e-6 if rounding is math.ceil else -1e-6)) * unit))
    return ends


def same(one: Any, other: Any) -> bool:
    """Equal up to one unit of the last digit that ships."""
    if other is None:
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    return bool(np.allclose(one, other, rtol=10 ** (1 - SIGNIFICANT_DIGITS), atol=0))


if __name__ == "__main__":
    raise SystemExit(main())
