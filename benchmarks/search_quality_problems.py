"""Two search problems with known answers, described to the search by arithmetic on their definitions alone.

Nothing here is fitted to an accuracy. The tables and the score come from the shared data folder
(`$MNV2SEARCH_SHARED`, or `../shared/data` beside the repository).
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from mnv2search.study.hybrid.candidates import Description
from mnv2search.study.hybrid.surrogate import FloatArray, IntArray

__all__ = ["PROBLEMS", "Problem", "open_problem", "shared_data", "space_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A space whose networks all have a known accuracy (%) and multiply-adds."""

    name: str
    cards: tuple[int, ...]
    ordinal: tuple[bool, ...]
    evaluate: Callable[[tuple[int, ...]], tuple[float, float]]
    describe: Callable[[IntArray], Description]
    share: Callable[[list[tuple[int, ...]]], float]


@dataclass(slots=True)
class _Sums:
    """Sums over the blocks of N networks, from which the generic features are made."""

    madds: FloatArray
    params: FloatArray
    depth: FloatArray
    activations: FloatArray
    depthwise: FloatArray
    large_kernels: FloatArray
    log_hidden: FloatArray
    attention: FloatArray
    log_expansion: FloatArray
    at_side: dict[int, FloatArray] = field(init=False, default_factory=dict)

    @classmethod
    def zeros(cls, count: int) -> _Sums:
        return cls(*(np.zeros(count) for _ in range(9)))

    def add_block(
        self,
        present: FloatArray,
        *,
        c_in: int,
        c_out: int,
        side: int,
        stride: int,
        expansion: FloatArray,
        kernel: FloatArray,
        attention: FloatArray,
    ) -> None:
        """Add one inverted residual block to the networks where `present` is 1."""
        hidden, out = c_in * expansion, side // stride
        expands = expansion > 1
        depthwise = hidden * kernel**2 * out**2
        squeezed = attention * 2 * hidden * max(1, c_in // 4)
        self.madds += present * (expands * c_in * hidden * side**2 + depthwise + hidden * c_out * out**2 + squeezed)
        self.params += present * (expands * c_in * hidden + hidden * kernel**2 + hidden * c_out + squeezed)
        self.depth += present
        self.activations += present * (expands * hidden * side**2 + hidden * out**2 + c_out * out**2)
        self.depthwise += present * depthwise
        self.large_kernels += present * (kernel > 3)
        self.log_hidden += present * np.log(hidden)
        self.attention += present * attention
        self.log_expansion += present * np.log(expansion)
        self.at_side[out] = self.at_side.get(out, 0.0) + present

    def features(self, madds: FloatArray) -> FloatArray:
        """Generic features (N, 10): size, depth and shape, none of them tied to a place in the network."""
        depth = np.maximum(self.depth, 1.0)
        stages = np.sum([np.log1p(blocks) for blocks in self.at_side.values()], axis=0)
        return np.stack(
            [
                np.log(madds),
                np.log(self.params + 1e4),
                np.log(self.depth + 1.0),
                np.log(self.activations + 1e4),
                self.depthwise / madds,
                self.large_kernels / depth,
                self.log_hidden / depth,
                stages,
                np.log1p(self.log_expansion),
                self.attention / depth,
            ],
            axis=1,
        )


def _describe_macro(choices: IntArray) -> Description:
    """NAS-Bench-Macro: 3 stages of 2, 3, 3 blocks; a block is an identity, t=3 k=3 or t=6 k=5.

    Where the stage halves the side an identity becomes a strided 1x1 convolution. Within a stage, the other
    identities change nothing wherever they stand, so networks that differ only there are the same.

    Source: xiusu/NAS-Bench-Macro, train/model.py.
    """
    count = len(choices)
    sums, side, channels = _Sums.zeros(count), 32, 32
    fixed = 3 * 32 * 9 * 32**2 + 256 * 1280 * 4**2 + 1280 * 10
    projections = np.zeros(count)
    identity = np.zeros(count, np.int64)
    layer = 0
    for repeats in (2, 3, 3):
        code = np.ones(count, np.int64)
        for position in range(repeats):
            op = choices[:, layer]
            stride, c_out = (2, 2 * channels) if position == 0 else (1, channels)
            sums.add_block(
                (op > 0).astype(float),
                c_in=channels,
                c_out=c_out,
                side=side,
                stride=stride,
                expansion=np.where(op == 2, 6.0, 3.0),
                kernel=np.where(op == 2, 5.0, 3.0),
                attention=np.zeros(count),
            )
            if position == 0:
                projections += (op == 0) * channels * c_out * (side // 2) ** 2
                code = code * 3 + op
            else:
                code = np.where(op > 0, code * 3 + op, code)
            side, channels, layer = side // stride, c_out, layer + 1
        identity = identity * 1000 + code
    madds = fixed + projections + sums.madds
    return Description(cost=madds, features=sums.features(madds)[:, :-1], identity=identity)


_STRIDES = (1, 2, 2, 2, 1, 2, 1)
_CHANNELS = (32, 16, 24, 40, 80, 112, 192, 320)


def _describe_accel(choices: IntArray) -> Description:
    """Accel-NASBench: 7 stages, each with its expansion, kernel, repeats and squeeze-excite.

    Source: afzalxo/Accel-NASBench, the MnasNet-like space; multiply-adds as the shared score counts them.
    """
    count, side = len(choices), 112
    sums = _Sums.zeros(count)
    for stage, stride in enumerate(_STRIDES):
        option = choices[:, 4 * stage : 4 * stage + 4]
        c_in, c_out = _CHANNELS[stage], _CHANNELS[stage + 1]
        for repeat in range(4):
            sums.add_block(
                (option[:, 2] >= repeat).astype(float),
                c_in=c_in if repeat == 0 else c_out,
                c_out=c_out,
                side=side,
                stride=stride if repeat == 0 else 1,
                expansion=np.array([1.0, 4.0, 6.0])[option[:, 0]],
                kernel=np.array([3.0, 5.0])[option[:, 1]],
                attention=option[:, 3].astype(float),
            )
            side = side // stride if repeat == 0 else side
    madds = 3 * 32 * 9 * 112**2 + sums.madds + 320 * 1280 * side**2 + 1280 * 1000
    return Description(cost=madds / 1e6, features=sums.features(madds))


PROBLEMS = ("nbm", "anb")
_DESCRIBE = {"nbm": _describe_macro, "anb": _describe_accel}


def space_of(problem: Problem) -> dict[str, BaseDistribution]:
    """Optuna's distributions of a problem, whose values are the option indices."""
    return {
        f"x{dimension:02d}": IntDistribution(0, card - 1) if is_ordinal else CategoricalDistribution(range(card))
        for dimension, (card, is_ordinal) in enumerate(zip(problem.cards, problem.ordinal, strict=True))
    }


def shared_data() -> Path:
    """The folder of shared data; it need not exist."""
    return Path(os.environ.get("MNV2SEARCH_SHARED", Path(__file__).parents[2] / "shared" / "data"))


def open_problem(name: str) -> Problem:
    """The problem `nbm` (NAS-Bench-Macro) or `anb` (Accel-NASBench).

    Raises:
        FileNotFoundError: the shared data is absent.
    """
    path = shared_data() / "search_problems.py"
    spec = importlib.util.spec_from_file_location("search_problems", path)
    if spec is None or spec.loader is None or not path.exists():
        raise FileNotFoundError(path)
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    problem = getattr(module, name)()
    cards = tuple(problem.card)
    return Problem(
        name=name,
        cards=cards,
        ordinal=tuple(name == "anb" and d % 4 in {0, 2} for d in range(len(cards))),
        evaluate=problem.evaluate,
        describe=_DESCRIBE[name],
        share=lambda xs: float(module.share(problem, xs)),
    )
