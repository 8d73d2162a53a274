"""Predicted against measured latency: a profile built from nothing, then networks that it has not seen.

Run: `python benchmarks/predictor.py [--device onnxruntime] [--space mnv2 tiny32 ...] [--networks 100]
[--profile-time 300] [--test-time 90] [--seed 0] [--json raw.json] [--blocks 60]`

One profile is built for all spaces in the time given, from an empty cache, as `mnv2search device-profile` does. The
test is 100 random networks of each space, or half of a smaller space, that the profile is not allowed to measure. It
goes on between the batches of the profile, because a machine that is shared drifts by more in ten minutes than the
error that is asked for; its time does not count as the profile's. All predictions learn from the networks
of the profile and nothing else, but for those of `--blocks` (ONNX Runtime only): every block that occurs in the test,
and in so many networks of the profile, is measured by itself afterwards, a table of which nothing is missing, and is
added up; the corrections of the sum are fitted to these networks of the profile. The errors hold those of the
measurements, whose half-widths stand beside the table.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import block_table
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.stats import spearmanr

from mnv2search.cost import cost_of
from mnv2search.latency.measuring.pool import PoolMeasurer
from mnv2search.latency.measuring.timing import Measurer, Settings
from mnv2search.latency.prediction.cache import LatencyCache
from mnv2search.latency.prediction.features import NAMES, FeatureTable
from mnv2search.latency.prediction.predictor import LatencyPredictor
from mnv2search.latency.registry import open_device
from mnv2search.latency.types import Latency
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import plan
from mnv2search.spec.space import SearchSpace, random_pick, resolve
from mnv2search.spec.yaml.codec import load_space
from mnv2search.workflows.devices.profile import build_profile

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
    """Measure the profile and the test in turn, and print a table a space."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="onnxruntime")
    parser.add_argument("--space", nargs="+", default=SPACES)
    parser.add_argument("--networks", type=int, default=100)
    parser.add_argument("--profile-time", type=float, default=300.0, help="seconds")
    parser.add_argument("--test-time", type=float, default=90.0, help="seconds a space, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--blocks", type=int, default=0, help="networks that correct the sum of blocks; 0: no sums")
    parser.add_argument("--json", type=Path, help="where to write what was measured")
    arguments = parser.parse_args()
    spaces = [load_space(name) for name in arguments.space]
    tests = {space.name: held_out(space, arguments.networks, arguments.seed) for space in spaces}
    with open_device(arguments.device) as device, tempfile.TemporaryDirectory() as folder:
        cache, info = LatencyCache(Path(folder)), device.info
        print(f"{info.hardware}, {info.name}, {info.runtime} {info.runtime_version}", flush=True)
        predictor, before = LatencyPredictor(info), os.getloadavg()[0]
        test = Test(cache.measurer(device, CLOSENESS), tests, time_s=arguments.test_time * len(spaces))
        learned, elapsed_s, _ = build_profile(
            device,
            predictor,
            spaces,
            cache=cache,
            time_s=arguments.profile_time,
            seed=arguments.seed,
            without={spec for specs in tests.values() for spec in specs},
            on_progress=lambda share, _: test.go_on(share),
            clock=lambda: time.monotonic() - test.spent_s,
        )
        test.go_on(1.0)
        error = "unknown" if predictor.error is None else f"{predictor.error:.1%}"
        print(
            f"profile: {len(learned)} networks in {elapsed_s:.0f} s, test in {test.spent_s:.0f} s between; load "
            f"average {before:.1f} to {os.getloadavg()[0]:.1f}; it states a mean error of {error}"
        )
        blocks = Blocks(learned[: arguments.blocks]) if arguments.blocks else None
        for space in spaces:
            table(space.name, test.found(space.name), learned, predictor, blocks)
        if blocks is not None:
            print(f"\n{len(blocks.table)} blocks measured by themselves in {blocks.spent_s:.0f} s")
        if arguments.json:
            arguments.json.write_text(json.dumps(raw(learned, test, spaces), indent=1), encoding="utf-8")
    print("\nasked for: 95 % within 5 %, 99 % within 10 %, Spearman .99")


def held_out(space: SearchSpace, count: int, seed: int) -> list[ModelSpec]:
    """Random networks of the space, at most half of those that there are."""
    generator = random.Random(f"test {seed}")
    drawn = dict.fromkeys(resolve(space, random_pick(space, generator)) for _ in range(20 * count))
    return list(drawn)[: min(count, len(drawn) // 2)]


class Test:
    """Networks measured a share at a time, those of all spaces in turn."""

    def __init__(self, measurer: Measurer | PoolMeasurer, tests: Mapping[str, Sequence[ModelSpec]], *, time_s: float):
        turns = itertools.zip_longest(*tests.values())
        self._waiting = [spec for turn in turns for spec in turn if spec is not None]
        self._all, self._tests = len(self._waiting), tests
        self._measurer, self._time_s = measurer, time_s
        self._measured: dict[ModelSpec, Latency] = {}
        self.spent_s = 0.0

    def go_on(self, share: float) -> None:
        """Measure as many as make up this share."""
        begin = time.monotonic()
        count = round(share * self._all) - len(self._measured)
        now, self._waiting = self._waiting[:count], self._waiting[count:]
        if now:
            found = self._measurer.measure(now, time_s=self._time_s * len(now) / self._all)
            self._measured |= dict(zip(now, found, strict=True))
        self.spent_s += time.monotonic() - begin

    def found(self, space: str) -> list[tuple[ModelSpec, Latency]]:
        """The networks of a space and their latencies."""
        return [(spec, self._measured[spec]) for spec in self._tests[space]]


class Blocks:
    """Sums of blocks measured one by one, plain and corrected by some networks of the profile."""

    def __init__(self, learned: Sequence[tuple[ModelSpec, float]]):
        self.table, self.spent_s = block_table.BlockTable(), 0.0
        self._learned, self._ms = self._terms([spec for spec, _ in learned]), np.array([ms for _, ms in learned])

    def rows(self, specs: Sequence[ModelSpec]) -> dict[str, Array]:
        """What each way of adding up predicts."""
        wanted = self._terms(specs)
        affine_sum = block_table.fitted(self._learned[:, :1], self._ms, wanted[:, :1])
        return {
            "sum of blocks": wanted[:, 0],
            "sum of blocks, affine": affine_sum,
            "sum, number of blocks, values between": block_table.fitted(self._learned, self._ms, wanted),
        }

    def _terms(self, specs: Sequence[ModelSpec]) -> Array:
        begin = time.monotonic()
        found = self.table.terms(specs)
        self.spent_s += time.monotonic() - begin
        return found


def table(
    name: str,
    found: Sequence[tuple[ModelSpec, Latency]],
    learned: Sequence[tuple[ModelSpec, float]],
    predictor: LatencyPredictor,
    blocks: Blocks | None,
) -> None:
    """Print how well each prediction does on a space."""
    specs, ms = [spec for spec, _ in found], np.array([m.median_ms for _, m in found])
    scatter = np.array([m.ci_high_ms / m.median_ms - 1 for _, m in found])
    print(
        f"\n{name}: {len(specs)} networks, {ms.min():.2f} to {ms.max():.2f} ms; their own 95 % half-width "
        f"{np.median(scatter):.1%} (median); {sum(m.noisy for _, m in found)} noisy\n"
    )
    print("| prediction | mean error | bias | within 5 % | within 10 % | Spearman |\n|---|---|---|---|---|---|")
    row("ours", predictor.predict_many([plan(s) for s in specs])[0], ms)
    row("affine in multiply-adds", affine(learned, specs), ms)
    row("nine features, rates >= 0", non_negative(learned, specs), ms)
    for title, predicted in ({} if blocks is None else blocks.rows(specs)).items():
        row(title, predicted, ms)


def raw(learned: Sequence[tuple[ModelSpec, float]], test: Test, spaces: Sequence[SearchSpace]) -> dict[str, object]:
    """What was measured, with the features of each network."""

    def told(spec: ModelSpec, ms: float) -> dict[str, object]:
        features = FeatureTable().matrix_of([plan(spec)])[0].tolist()
        return {"ms": ms, "madds": cost_of(spec).madds, "features": features}

    return {
        "features": NAMES,
        "profile": [told(spec, ms) for spec, ms in learned],
        "test": {space.name: [told(spec, m.median_ms) for spec, m in test.found(space.name)] for space in spaces},
    }


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
