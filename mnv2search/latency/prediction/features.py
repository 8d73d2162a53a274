"""What a network's latency is made of: sums over its layers that a device turns into time at some rate each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mnv2search.spec.plan import Layer, Plan, Unit

__all__ = ["NAMES", "PRIOR_MS", "FeatureTable", "Matrix", "features_of"]

Matrix: TypeAlias = NDArray[np.float64]

# Convolutions on x86 and Arm work on blocks of channels; 16 is the widest in use (AVX-512).
BLOCK = 16
# A map this small leaves a pointwise convolution too few columns to work on at full speed.
SMALL_SIDE = 8
# XNNPACK's and ONNX Runtime's matrix products fill tiles of this many pixels with AVX-512; what a map lacks to a
# multiple of it is computed for nothing. Found by the errors on maps of 8, 10 and 4 px against those of 7 and 14.
TILE = 7
# Depthwise kernels of this side and larger ones share their features.
LARGE_KERNEL = 7
# Weights that stay in a processor's caches from one inference to the next; those beyond come from memory every time.
# Found on a server with 32 MiB of shared last-level cache; ridge regression finds the rate, so it need not be exact.
CACHED_WEIGHTS = 2.5e6
# Units kept in the cache, at 3 kB each.
REMEMBERED = 16_384

# Feature -> ms per million (or per piece): where a device's rates start from before anything is measured on it.
# Fitted to random networks of the space mnv2 on ONNX Runtime, one core of a server; see benchmarks/predictor.py.
RATES = {
    "networks": 0.0043,
    "full_madds": 0.019,
    "pointwise_madds": 0.017,
    "pointwise_small_madds": 0.0015,
    "pointwise_wasted": 0.002,
    "pointwise_weights": 0.039,
    "pointwise_in": 0.14,
    "pointwise_out": 0.13,
    "pointwise_layers": 0.00042,
    "depthwise_3_1": 0.0078,
    "depthwise_3_2": 0.031,
    "depthwise_5_1": 0.015,
    "depthwise_5_2": 0.023,
    "depthwise_7_1": 0.015,
    "depthwise_7_2": 0.027,
    "depthwise_wasted": 0.05,
    "depthwise_dilated": 0.018,
    "depthwise_in": 0.14,
    "depthwise_out": 0.1,
    "depthwise_layers": 0.0011,
    "split_maps": 0.27,
    "shortcut_maps": 0.31,
    "gated_maps": 0.53,
    "gates": 0.0089,
    "clipped_maps": 0.05,
    "slow_activation_maps": 0.44,
    "group_norm_maps": 1.8,
    "classifier_weights": 0.015,
    "weights_beyond_cache": 0.13,
}
NAMES = tuple(RATES)
PRIOR_MS: Matrix = np.array(tuple(RATES.values()))
_AT = {name: index for index, name in enumerate(NAMES)}
_PIECES = frozenset({"networks", "pointwise_layers", "depthwise_layers", "gates"})
_SCALE: Matrix = np.array([1.0 if name in _PIECES else 1e-6 for name in NAMES])


class _Memory:
    """Features of units by identity: the plan hands out the same unit again and again, and hashing one is slow."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[Unit, int]] = {}
        self.table: Matrix = np.empty((1024, len(NAMES)))

    def row(self, unit: Unit) -> int:
        """The row of the unit in the table."""
        known = self.rows.get(id(unit))
        if known is not None:
            return known[1]
        place = len(self.rows)
        if place == len(self.table):
            self.table = np.concatenate([self.table, np.empty_like(self.table)])
        self.table[place] = _unit_features(unit)
        # Holding the unit keeps its identity from being given to another.
        self.rows[id(unit)] = (unit, place)
        return place


def features_of(network: Plan) -> tuple[float, ...]:
    """The features of one network, in the order of `NAMES`.

    >>> from mnv2search.spec.model_spec import BlockSpec, ModelSpec
    >>> from mnv2search.spec.plan import plan
    >>> found = features_of(plan(ModelSpec(name="one", blocks=(BlockSpec(channels=16),), resolution=32)))
    >>> dict(zip(NAMES, found))["depthwise_layers"]
    1.0
    """
    return tuple(float(value) for value in FeatureTable().matrix_of([network])[0])


class FeatureTable:
    """Turns plans into features, remembering units."""

    def __init__(self) -> None:
        self._memory = _Memory()

    def matrix_of(self, networks: Sequence[Plan]) -> Matrix:
        """The features of networks, (N, len(NAMES))."""
        if not networks:
            return np.empty((0, len(NAMES)))
        memory = self._memory
        if len(memory.rows) > REMEMBERED:
            memory = self._memory = _Memory()
        rows = [memory.row(unit) for network in networks for unit in network.units]
        starts = np.cumsum([0] + [len(network.units) for network in networks[:-1]])
        total: Matrix = np.add.reduceat(memory.table[rows], starts, axis=0)
        total[:, _AT["networks"]] = 1.0
        weights = total[:, _AT["pointwise_weights"]] + total[:, _AT["classifier_weights"]]
        total[:, _AT["weights_beyond_cache"]] = np.maximum(weights - CACHED_WEIGHTS * 1e-6, 0.0)
        return total


def _unit_features(unit: Unit) -> Matrix:
    found = np.zeros(len(NAMES))

    def add(name: str, amount: float) -> None:
        found[_AT[name]] += amount

    for index, layer in enumerate(unit.layers):
        out = layer.c_out * layer.size_out.area
        if layer.role == "classifier":
            add("classifier_weights", layer.weights)
            continue
        if layer.role == "squeeze":
            before = unit.layers[index - 1]
            add("gated_maps", before.c_out * before.size_out.area)
        if layer.role in ("squeeze", "excite"):
            add("gates", 0.5)
            add("pointwise_weights", layer.weights)
            continue
        for name, amount in _convolution(layer):
            add(name, amount)
        if layer.activation == "relu6":
            # ONNX Runtime 1.32 clips in a pass of its own, which makes MobileNetV2 a tenth slower than with ReLU.
            add("clipped_maps", out)
        if layer.activation in ("hard_swish", "silu"):
            add("slow_activation_maps", out)
        if layer.normalizer == "group":
            add("group_norm_maps", out)
    if unit.shortcut != "none":
        add("shortcut_maps", unit.c_out * unit.size_out.area)
    return found * _SCALE


def _convolution(layer: Layer) -> list[tuple[str, float]]:
    out_px, in_px = layer.size_out.area, layer.size_in.area
    ins, outs = _blocked(layer.c_in) * in_px, _blocked(layer.c_out) * out_px
    if layer.groups > 1:
        side = min(max(layer.kernel, 3), LARGE_KERNEL)
        madds = layer.kernel**2 * outs
        found = [
            (f"depthwise_{side}_{layer.stride}", float(madds)),
            ("depthwise_in", float(ins)),
            ("depthwise_out", float(outs)),
            ("depthwise_layers", 1.0),
        ]
        if side == LARGE_KERNEL:
            found.append(("depthwise_wasted", float(layer.kernel**2 * layer.c_out * _lacking(out_px))))
        return [*found, ("depthwise_dilated", float(madds))] if layer.dilation > 1 else found
    if layer.kernel > 1:
        return [("full_madds", float(layer.weights * out_px)), ("pointwise_out", float(outs))]
    parts = layer.parts or ((layer.c_in, layer.c_out),)
    madds = sum(_blocked(i) * _blocked(o) for i, o in parts) * out_px
    found = [
        ("pointwise_madds", float(madds)),
        ("pointwise_weights", float(layer.weights)),
        ("pointwise_in", float(ins)),
        ("pointwise_out", float(outs)),
        ("pointwise_layers", float(len(parts))),
    ]
    found.append(("pointwise_wasted", madds / out_px * _lacking(out_px)))
    if layer.size_out.area <= SMALL_SIDE**2:
        found.append(("pointwise_small_madds", float(madds)))
    return [*found, ("split_maps", float(ins + outs))] if layer.parts else found


def _lacking(pixels: int) -> int:
    return -pixels % TILE


def _blocked(channels: int) -> int:
    return -(-channels // BLOCK) * BLOCK
