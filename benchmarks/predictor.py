"""Predicted against measured latency on random networks of a space, beside an affine fit to multiply-adds.

Run: `python benchmarks/predictor.py [--space mnv2] [--train 40] [--test 50] [--time 180] [--device onnxruntime]
[--seed 0] [-o raw.json]`

All networks are measured side by side in one interleaved run. Then the predictor learns from the training networks
and predicts the others; the affine fit in multiply-adds learns from the same, by relative error. The share within 5 %
cannot exceed what the measurement itself allows, so the half-widths of the intervals are printed too.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from mnv2search.cost import cost_of
from mnv2search.latency.cache import LatencyCache
from mnv2search.latency.predictor import LatencyPredictor
from mnv2search.latency.registry import open_device
from mnv2search.latency.timing import Settings
from mnv2search.spec.codec import load_space
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import plan
from mnv2search.spec.space import random_pick, resolve

Array = NDArray[np.float64]
LIMIT_WITHIN, LIMIT_RANK = 0.9, 0.98
SIZES = (0, 5, 10, 20)


def main() -> None:
    """Measure, then print a row a predictor."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="mnv2")
    parser.add_argument("--train", type=int, default=40)
    parser.add_argument("--test", type=int, default=50)
    parser.add_argument("--time", type=float, default=180.0, help="seconds of measuring")
    parser.add_argument("--device", default="onnxruntime")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, help="where to write the measurements as JSON")
    arguments = parser.parse_args()
    space, generator = load_space(arguments.space), random.Random(arguments.seed)
    specs = [resolve(space, random_pick(space, generator)) for _ in range(arguments.train + arguments.test)]
    settings = Settings(min_visits=8, max_visits=40, half_width=0.02)
    with open_device(arguments.device) as device:
        print(f"{device.info.hardware}, {device.info.name}, {device.info.runtime} {device.info.runtime_version}")
        print(f"load average before {os.getloadavg()[0]:.1f}", end="", flush=True)
        measured = LatencyCache().measurer(device, settings).measure(specs, time_s=arguments.time)
        print(f", after {os.getloadavg()[0]:.1f}")
        info = device.info
    if arguments.output:
        arguments.output.write_text(json.dumps([asdict(m) for m in measured], indent=1), encoding="utf-8")
    ms = np.array([m.median_ms for m in measured])
    noisy = sum(m.noisy for m in measured)
    half_widths = np.array([m.ci_high_ms / m.median_ms - 1 for m in measured])
    print(
        f"{len(specs)} networks of {space.name}, {ms.min():.2f} to {ms.max():.2f} ms; 95 % half-width of one:", end=""
    )
    print(f" median {np.median(half_widths):.1%}, largest {half_widths.max():.1%}; {noisy} noisy")

    train, test = slice(0, arguments.train), slice(arguments.train, None)
    print(f"\n{'prediction':<34} {'mean error':>10} {'bias':>7} {'within 5 %':>10} {'10 %':>6} {'Spearman':>9}")
    for size in (*(s for s in SIZES if s < arguments.train), arguments.train):
        predictor = LatencyPredictor(info)
        start = time.perf_counter()
        predictor.fit(list(zip(specs[:size], ms[:size].tolist(), strict=True)))
        spent_ms = 1e3 * (time.perf_counter() - start)
        predicted, _ = predictor.predict_many([plan(s) for s in specs[test]])
        row(f"ours, {size} networks (fit {spent_ms:.0f} ms)", predicted, ms[test])
    shown = "none" if predictor.error is None else f"{predictor.error:.1%}"
    print(f"  it states a mean error of {shown}, from leaving one out")
    row(f"affine in multiply-adds, {arguments.train}", affine(specs, ms, train)[test], ms[test])
    print(f"  {speed_us(predictor, specs):.0f} µs of CPU time a network, its plan included")
    print(f"\nasked for: {LIMIT_WITHIN:.0%} within 5 %, Spearman {LIMIT_RANK}")


def row(name: str, predicted: Array, measured: Array) -> None:
    """Print how well a prediction does."""
    error = predicted / measured - 1
    within = [f"{np.mean(np.abs(error) <= limit):.0%}" for limit in (0.05, 0.10)]
    rank = spearmanr(predicted, measured).statistic
    mean, bias = f"{np.mean(np.abs(error)):.1%}", f"{np.median(error):+.1%}"
    print(f"{name:<34} {mean:>10} {bias:>7} {within[0]:>10} {within[1]:>6} {rank:>9.4f}")


def affine(specs: Sequence[ModelSpec], ms: Array, train: slice) -> Array:
    """Latency as a constant and a rate of multiply-adds, fitted by relative error."""
    terms = np.array([[1.0, cost_of(spec).madds / 1e6] for spec in specs])
    relative = terms[train] / ms[train, None]
    weights = np.linalg.lstsq(relative, np.ones(len(relative)), rcond=None)[0]
    return np.asarray(terms @ weights)


def speed_us(predictor: LatencyPredictor, specs: Sequence[ModelSpec], rounds: int = 20) -> float:
    """CPU time to plan and predict one network, in µs."""
    start = time.process_time()
    for _ in range(rounds):
        predictor.predict_many([plan(spec) for spec in specs])
    return 1e6 * (time.process_time() - start) / rounds / len(specs)


if __name__ == "__main__":
    main()
