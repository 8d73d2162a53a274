"""A table of blocks measured one by one on ONNX Runtime: what a latency predictor commonly starts from.

Used by `predictor.py --blocks`, which compares networks' latencies with the sums of their blocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from mnv2search.latency.measuring.estimate import LEVEL_QUANTILE, quantile
from mnv2search.latency.runner.engine import burst
from mnv2search.lowering.onnx.model import INPUT, onnx_bytes
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import Plan, Unit, plan

Array = NDArray[np.float64]
ERRORS_ONLY = 3
BURST_MS = 6.0
WARM_MS = 1.0
MIN_RUNS = 3


class BlockTable:
    """Latencies of units by themselves, each measured when it is first asked for."""

    def __init__(self) -> None:
        self._ms: dict[Unit, float] = {}

    def __len__(self) -> int:
        return len(self._ms)

    def terms(self, specs: Iterable[ModelSpec]) -> Array:
        """For each network the sum of its blocks in ms, their number, and the values between them in millions."""
        return np.array([self._terms(plan(spec)) for spec in specs])

    def _terms(self, network: Plan) -> tuple[float, float, float]:
        between = sum(unit.c_out * unit.size_out.area for unit in network.units)
        return sum(self._of(network, unit) for unit in network.units), float(len(network.units)), between / 1e6

    def _of(self, network: Plan, unit: Unit) -> float:
        kind = unit._replace(block=None)
        if kind not in self._ms:
            self._ms[kind] = _measured(network, unit)
        return self._ms[kind]


def fitted(learned: Array, ms: Array, wanted: Array) -> Array:
    """Latencies by terms (N, T) and a constant, fitted by relative error."""

    def with_constant(terms: Array) -> Array:
        return np.column_stack([terms, np.ones(len(terms))])

    rates = np.linalg.lstsq(with_constant(learned) / ms[:, None], np.ones(len(ms)), rcond=None)[0]
    return np.asarray(with_constant(wanted) @ rates)


def _measured(network: Plan, unit: Unit) -> float:
    """Milliseconds of a network of this unit alone."""
    spec = network.spec if unit is network.classifier else replace(network.spec, head=None)
    alone = onnx.load_from_string(onnx_bytes(Plan(spec=spec, units=(unit,), at=("alone",))))
    shape = _input_shape(unit)
    dims = alone.graph.input[0].type.tensor_type.shape.dim
    for dim, size in zip(dims, shape, strict=True):
        dim.dim_value = size
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = ERRORS_ONLY
    session = ort.InferenceSession(alone.SerializeToString(), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    binding.bind_cpu_input(INPUT, np.random.default_rng(0).standard_normal(shape, dtype=np.float32))
    binding.bind_output(session.get_outputs()[0].name)
    runs = burst(lambda: session.run_with_iobinding(binding), burst_ms=BURST_MS, warm_ms=WARM_MS, min_runs=MIN_RUNS)
    return quantile([cpu / 1e6 for _, cpu in runs], LEVEL_QUANTILE)


def _input_shape(unit: Unit) -> Sequence[int]:
    return 1, unit.c_in, *unit.size_in
