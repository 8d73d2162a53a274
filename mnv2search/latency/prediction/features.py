"""The features of networks: amounts of work summed over layers, each with a rate of time on the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mnv2search.spec.plan import Layer, Plan, Unit

Matrix: TypeAlias = NDArray[np.float64]

# Convolutions on x86 and Arm work on blocks of channels; 16 is the widest in use (AVX-512).
BLOCK = 16
# On a map this small, a pointwise convolution has too few columns to run at full speed.
SMALL_SIDE = 8
# XNNPACK's and ONNX Runtime's matrix products compute tiles of this many pixels with AVX-512, padding the last tile
# of a map. Found by comparing the errors on maps of 8, 10 and 4 px with those of 7 and 14.
TILE = 7
# Depthwise kernels of this side or larger share their features.
LARGE_KERNEL = 7
# Number of weights that stay in a processor's caches between inferences; further ones are read from memory each time.
# Found on a server with 32 MiB of shared last-level cache; ridge regression finds the rate, so it need not be exact.
CACHED_WEIGHTS = 2.5e6
# Units in the cache, at 3 kB each.
MAX_UNITS = 16_384

# Feature -> ms per million (or per item): the prior of a device's rates, before any measurement on it.
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


class FeatureTable:
    """A converter from plans to features, with a cache for the features of units.

    Units are compared by identity: plans share their units, and hashing a unit is slow.
    """

    def __init__(self) -> None:
        self._places: dict[int, tuple[Unit, int]] = {}
        self._rows: Matrix = np.empty((1024, len(NAMES)))

    def matrix_of(self, networks: Sequence[Plan]) -> Matrix:
        """The features of networks, (N, len(NAMES)), in the order of `NAMES`."""
        if not networks:
            return np.empty((0, len(NAMES)))
        if len(self._places) > MAX_UNITS:
            self._places.clear()
        places = [self._place(unit) for network in networks for unit in network.units]
        starts = np.cumsum([0] + [len(network.units) for network in networks[:-1]])
        total: Matrix = np.add.reduceat(self._rows[places], starts, axis=0)
        total[:, _AT["networks"]] = 1.0
        weights = total[:, _AT["pointwise_weights"]] + total[:, _AT["classifier_weights"]]
        total[:, _AT["weights_beyond_cache"]] = np.maximum(weights - CACHED_WEIGHTS * 1e-6, 0.0)
        return total

    def units_of(self, network: Plan) -> Matrix:
        """Features of every unit of a network, (U, len(NAMES)); with ``networks``, they add up to the network's.

        Weights beyond the cache are divided among the units in proportion to their weights.
        """
        total = self.matrix_of([network])[0]
        rows: Matrix = self._rows[[self._place(unit) for unit in network.units]]
        weights = rows[:, _AT["pointwise_weights"]] + rows[:, _AT["classifier_weights"]]
        if total[_AT["weights_beyond_cache"]]:
            rows[:, _AT["weights_beyond_cache"]] = total[_AT["weights_beyond_cache"]] * weights / weights.sum()
        return rows

    def _place(self, unit: Unit) -> int:
        if id(unit) in self._places:
            return self._places[id(unit)][1]
        place = len(self._places)
        if place == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        self._rows[place] = _unit_features(unit)
        # The reference to the unit prevents the reuse of its id.
        self._places[id(unit)] = (unit, place)
        return place


def _unit_features(unit: Unit) -> Matrix:
    features = np.zeros(len(NAMES))

    def add(name: str, amount: float) -> None:
        features[_AT[name]] += amount

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
            # ONNX Runtime 1.32 clips in a separate pass, which makes MobileNetV2 a tenth slower than with ReLU.
            add("clipped_maps", out)
        if layer.activation in ("hard_swish", "silu"):
            add("slow_activation_maps", out)
        if layer.normalizer == "group":
            add("group_norm_maps", out)
    if unit.shortcut != "none":
        add("shortcut_maps", unit.c_out * unit.size_out.area)
    return features * _SCALE


def _convolution(layer: Layer) -> list[tuple[str, float]]:
    out_px, in_px = layer.size_out.area, layer.size_in.area
    ins, outs = _blocked(layer.c_in) * in_px, _blocked(layer.c_out) * out_px
    if layer.groups > 1:
        side = min(max(layer.kernel, 3), LARGE_KERNEL)
        madds = layer.kernel**2 * outs
        amounts = [
            (f"depthwise_{side}_{layer.stride}", float(madds)),
            ("depthwise_in", float(ins)),
            ("depthwise_out", float(outs)),
            ("depthwise_layers", 1.0),
        ]
        if side == LARGE_KERNEL:
            amounts.append(("depthwise_wasted", float(layer.kernel**2 * layer.c_out * (-out_px % TILE))))
        return [*amounts, ("depthwise_dilated", float(madds))] if layer.dilation > 1 else amounts
    if layer.kernel > 1:
        return [("full_madds", float(layer.weights * out_px)), ("pointwise_out", float(outs))]
    parts = layer.parts or ((layer.c_in, layer.c_out),)
    madds = sum(_blocked(i) * _blocked(o) for i, o in parts) * out_px
    amounts = [
        ("pointwise_madds", float(madds)),
        ("pointwise_weights", float(layer.weights)),
        ("pointwise_in", float(ins)),
        ("pointwise_out", float(outs)),
        ("pointwise_layers", float(len(parts))),
    ]
    amounts.append(("pointwise_wasted", madds / out_px * (-out_px % TILE)))
    if layer.size_out.area <= SMALL_SIDE**2:
        amounts.append(("pointwise_small_madds", float(madds)))
    return [*amounts, ("split_maps", float(ins + outs))] if layer.parts else amounts


def _blocked(channels: int) -> int:
    return -(-channels // BLOCK) * BLOCK
