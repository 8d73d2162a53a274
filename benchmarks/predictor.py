"""Predicted against measured latency: a profile built from nothing, then networks that it has not seen.

Run: `python benchmarks/predictor.py [--device onnxruntime] [--space mnv2 tiny32 ...] [--networks 100]
[--profile-time 300] [--test-time 240] [--seed 0] [--json raw.json]`

One profile is built for all spaces in the time given, from an empty cache, as `mnv2search device-profile` does. Then
random networks of each space, none of them in the profile, are measured side by side, and closely. All predictions of
the table learn from the networks of the profile and nothing else. The errors hold those of the measurements, whose
half-widths stand beside the table.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.stats import spearmanr

from mnv2search.cost import cost_of
from mnv2search.jobs.audit import unseen
from mnv2search.jobs.profile import build_profile
from mnv2search.latency.cache import LatencyCache
from mnv2search.latency.features import NAMES, FeatureTable
from mnv2search.latency.predictor import LatencyPredictor
from mnv2search.latency.registry import open_device
from mnv2search.latency.timing import Settings
from mnv2search.spec.codec import load_space
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import plan

Array = NDArray[np.float64]
SPACES = ("mnv2", "mnv2-multipliers", "mnasnet", "proxyless", "tiny32")
CLOSENESS = Settings(half_width=0.015, min_visits=10, max_visits=40)
# The features that are told apart without kernels, sides and blocks of channels.
PLAIN = (
    ("networks",),
    ("full_madds",),
    ("pointwise_madds",),
    tuple(n for n in NAMES if n.startswith("depthwise_") and n[10].isdigit()),
    ("pointwise_in", "pointwise_out", "depthwise_in", "depthwise_out"),
    ("pointwise_weights", "classifier_weights"),
    ("pointwise_layers", "depthwise_layers"),
    ("shortcut_maps", "gated_maps", "split_maps"),
    ("weights_beyond_cache",),
)


def main() -> None:
    """Build the profile, measure, and print a table a space."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="onnxruntime")
    parser.add_argument("--space", nargs="+", default=SPACES)
    parser.add_argument("--networks", type=int, default=100)
    parser.add_argument("--profile-time", type=float, default=300.0, help="seconds")
    parser.add_argument("--test-time", type=float, default=240.0, help="seconds a space, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where to write what was measured")
    arguments = parser.parse_args()
    spaces = [load_space(name) for name in arguments.space]
    kept: dict[str, object] = {}
    with open_device(arguments.device) as device, tempfile.TemporaryDirectory() as folder:
        cache, info = LatencyCache(Path(folder)), device.info
        print(f"{info.hardware}, {info.name}, {info.runtime} {info.runtime_version}")
        predictor = LatencyPredictor(info)
        before = os.getloadavg()[0]
        learned, elapsed_s, reference_ms = build_profile(
            device, predictor, spaces, cache=cache, time_s=arguments.profile_time, seed=arguments.seed
        )
        cache.save(info, reference_ms=reference_ms, observations=predictor.observations)
        error = "unknown" if predictor.error is None else f"{predictor.error:.1%}"
        print(
            f"profile: {len(learned)} networks in {elapsed_s:.0f} s, load average {before:.1f} to "
            f"{os.getloadavg()[0]:.1f}; it states a mean error of {error}"
        )
        kept["profile"] = [(asdict(cost_of(spec)), ms) for spec, ms in learned]
        for space in spaces:
            specs = list(unseen(space, predictor, count=arguments.networks, seed=arguments.seed))
            measured = cache.measurer(device, CLOSENESS).measure(specs, time_s=arguments.test_time)
            ms = np.array([m.median_ms for m in measured])
            widths = np.array([m.ci_high_ms / m.median_ms - 1 for m in measured])
            print(
                f"\n{space.name}: {len(specs)} networks, {ms.min():.2f} to {ms.max():.2f} ms; their own 95 % "
                f"half-width {np.median(widths):.1%} (median); {sum(m.noisy for m in measured)} noisy; load average "
                f"{os.getloadavg()[0]:.1f}\n"
            )
            print(
                "| prediction | mean error | bias | within 5 % | within 10 % | Spearman |\n|---|---|---|---|---|---|"
            )
            row("ours", predictor.predict_many([plan(s) for s in specs])[0], ms)
            row("affine in multiply-adds", affine(learned, specs), ms)
            row("nine features, rates >= 0", non_negative(learned, specs), ms)
            kept[space.name] = [asdict(m) | {"spec": s.name} for s, m in zip(specs, measured, strict=True)]
    if arguments.json:
        arguments.json.write_text(json.dumps(kept, indent=1), encoding="utf-8")
    print("\nasked for: 95 % within 5 %, 99 % within 10 %, Spearman .99")


def row(name: str, predicted: Array, measured: Array) -> None:
    """Print how well a prediction does."""
    error = predicted / measured - 1
    within = [f"{np.mean(np.abs(error) <= limit):.0%}" for limit in (0.05, 0.10)]
    rank = spearmanr(predicted, measured).statistic
    mean, bias = f"{np.mean(np.abs(error)):.1%}", f"{np.median(error):+.1%}"
    print(f"| {name} | {mean} | {bias} | {within[0]} | {within[1]} | {rank:.4f} |", flush=True)


def affine(learned: Sequence[tuple[ModelSpec, float]], specs: Sequence[ModelSpec]) -> Array:
    """Latency as a constant and a rate of multiply-adds, fitted by relative error."""

    def terms(networks: Sequence[ModelSpec]) -> Array:
        return np.array([[1.0, cost_of(spec).madds / 1e6] for spec in networks])

    ms = np.array([m for _, m in learned])
    rates = np.linalg.lstsq(terms([s for s, _ in learned]) / ms[:, None], np.ones(len(ms)), rcond=None)[0]
    return np.asarray(terms(specs) @ rates)


def non_negative(learned: Sequence[tuple[ModelSpec, float]], specs: Sequence[ModelSpec]) -> Array:
    """Latency as a sum of nine features at rates of 0 or more, fitted by relative error."""

    def terms(networks: Sequence[ModelSpec]) -> Array:
        matrix = FeatureTable().matrix_of([plan(spec) for spec in networks])
        return np.stack([matrix[:, [NAMES.index(n) for n in names]].sum(axis=1) for names in PLAIN], axis=1)

    ms = np.array([m for _, m in learned])
    rates, _ = nnls(terms([s for s, _ in learned]) / ms[:, None], np.ones(len(ms)))
    return np.asarray(terms(specs) @ rates)


if __name__ == "__main__":
    main()
