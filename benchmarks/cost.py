"""Processor time of counting a network's cost on its plan, against fvcore's count on the built network.

Run: `python benchmarks/cost.py [--networks 2000] [--seed 0]`

Ours checks the spec, lays it out and counts. Three ways to ask for it: cold (nothing remembered, as for the first
network of a process), in a stream of random networks of the space `mnv2` (as a search asks; units recur and are
remembered), and again (the same network, laid out). fvcore needs the built network; building is given by itself. One
thread; process CPU time, so that other work on the machine does not count; median and 90th percentile.
"""

from __future__ import annotations

import argparse
import math
import platform
import random
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

PUBLISHED = ("mobilenet_v2", "mobilenetv2_035", "mobilenetv2_140", "efficientnet_lite0", "mnasnet_b1_1.0")
LIMIT_US = 300
REPEATS = 60
FVCORE_REPEATS = 3


def spent_us(runs: Iterable[Callable[[], object]], *, before: Callable[[], object] = lambda: None) -> list[float]:
    """CPU time of each run, in µs; `before` is called untimed ahead of each."""
    found = []
    for run in runs:
        before()
        start = time.process_time_ns()
        run()
        found.append((time.process_time_ns() - start) / 1e3)
    return found


def forget() -> None:
    """Empties what the plan and the cost remember of units."""
    from mnv2search import cost
    from mnv2search.spec import layout

    for cache in (layout.block_unit, layout.plain_unit, layout.classifier_unit, cost.unit_cost):
        cache.cache_clear()


def shown(label: str, samples: list[float]) -> None:
    ninetieth = sorted(samples)[math.ceil(0.9 * len(samples)) - 1]
    print(f"  {label:<34}{statistics.median(samples):>12,.0f}{ninetieth:>12,.0f}{len(samples):>10,}")


def one_network(name: str) -> tuple[float, float]:
    """Prints the times of one network; returns our median when cold, and fvcore's with building, in µs."""
    from mnv2search.cost import cost_of
    from mnv2search.model.build import build
    from mnv2search.model.fvcore_count import fvcore_madds
    from mnv2search.spec.yaml.codec import load_spec

    spec = load_spec(name)
    cold = spent_us([lambda: cost_of(replace(spec))] * REPEATS, before=forget)
    again = spent_us([lambda: cost_of(spec)] * REPEATS)
    building = spent_us([lambda: build(spec, seed=0)] * FVCORE_REPEATS)
    model = build(spec, seed=0)
    counting = spent_us([lambda: fvcore_madds(model)] * FVCORE_REPEATS)
    difference = abs(cost_of(spec).madds - fvcore_madds(model))
    print(f"{name}: {cost_of(spec).madds:,} multiply-adds, {difference} away from fvcore's")
    shown("cost_of, cold", cold)
    shown("cost_of, again", again)
    shown("fvcore's count", counting)
    shown("building what it counts", building)
    return statistics.median(cold), statistics.median(counting) + statistics.median(building)


def stream(networks: int, seed: int) -> list[float]:
    """CPU time of `cost_of` for random networks of the default space, in µs."""
    from mnv2search.cost import cost_of
    from mnv2search.spec.space import random_pick, resolve
    from mnv2search.spec.yaml.codec import load_space

    space, rng = load_space("mnv2"), random.Random(seed)
    specs = [resolve(space, random_pick(space, rng)) for _ in range(networks)]
    forget()
    return spent_us((lambda spec=spec: cost_of(replace(spec))) for spec in specs)  # type: ignore[misc]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    print(f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}, one thread")
    print(f"{'':<36}{'median µs':>12}{'90 % µs':>12}{'samples':>10}")
    one_network(PUBLISHED[0])  # imports and first calls are not counted
    print("—")
    ratios = [theirs / ours for ours, theirs in map(one_network, PUBLISHED)]
    samples = stream(options.networks, options.seed)
    print(f"{options.networks:,} random networks of the space mnv2, each counted once")
    shown("cost_of, in a stream", samples)
    within = sum(sample <= LIMIT_US for sample in samples) / len(samples)
    print(f"  mean {statistics.mean(samples):.0f} µs; {within:.1%} of them within {LIMIT_US} µs")
    print(f"fvcore with building takes {min(ratios):,.0f} to {max(ratios):,.0f} times as long as ours, cold")


if __name__ == "__main__":
    main()
