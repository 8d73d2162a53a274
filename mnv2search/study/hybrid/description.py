"""Descriptions of networks before they are evaluated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from mnv2search.errors import OptionError
from mnv2search.study.hybrid.surrogate import FloatArray, Inputs, IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """Cheap knowledge of N networks.

    Attributes:
        cost: the objective to minimise, (N,), above 0: exact or predicted.
        features: generic features, (N, F), in any unit, such as log multiply-adds and log depth; F may be 0.
        prior: an estimate of the accuracy in its unit, (N,), or None; its weight is learned.
        violation: predicted excess over the constraints, (N,), 0 where all fit, or None without constraints.
        identity: equal for equal networks under different choices, (N,), or None.
    """

    cost: FloatArray
    features: FloatArray
    prior: FloatArray | None = None
    violation: FloatArray | None = None
    identity: IntArray | None = None

    def rows(self, index: IntArray) -> Description:
        """The description of some of the networks."""
        columns = {name: getattr(self, name) for name in _COLUMNS}
        return Description(**{name: values[index] for name, values in columns.items() if values is not None})

    def inputs(self, choices: IntArray) -> Inputs:
        """Inputs of a surrogate of the accuracy of these networks."""
        return Inputs(choices=choices, features=self.features, prior=self.prior)

    @staticmethod
    def joined(parts: Sequence[Description]) -> Description:
        """One description of the networks of several, in order."""
        columns = {name: [getattr(part, name) for part in parts] for name in _COLUMNS}
        known = {name: values for name, values in columns.items() if all(v is not None for v in values)}
        return Description(**{name: np.concatenate(values) for name, values in known.items()})


_COLUMNS = tuple(field.name for field in fields(Description))
Describe = Callable[[IntArray], Description]


def checked_describe(describe: Describe) -> Describe:
    """The function with a check that all costs are above 0, and all values finite and complete."""

    def described(choices: IntArray) -> Description:
        description = describe(choices)
        values = [description.cost, description.features, description.prior, description.violation]
        if any(len(v) != len(choices) or not np.isfinite(v).all() for v in values if v is not None):
            raise OptionError(
                f"the description of {len(choices)} networks has another length, or a value that is not finite",
                hint="describe every network in every array, with finite numbers",
            )
        if not (description.cost > 0).all():
            raise OptionError(
                f"a network is described with a cost of {description.cost.min():g}", hint="costs must be above 0"
            )
        return description

    return described
