"""Networks whose weights are the first weights of a training."""

from __future__ import annotations

from pathlib import Path

from mnv2search.errors import WeightsError
from mnv2search.model.build import MobileNet, build
from mnv2search.model.weights.load import load_weights
from mnv2search.model.weights.network_file import read_network
from mnv2search.model.weights.programs import SUFFIX
from mnv2search.spec.model_spec import ModelSpec


def network_of(weights: Path, spec: ModelSpec) -> MobileNet:
    """The network of a `.pt` or `.pt2` file of ours, or one with published weights.

    Raises:
        WeightsError: there is no such file, or its weights do not fit the spec.
        TrainingError: a file of ours cannot be read.
    """
    if not weights.is_file():
        raise WeightsError(f"{weights} is not a file", hint="check the path of the first weights")
    if weights.suffix in (".pt", SUFFIX):
        return read_network(weights)
    model = build(spec, seed=0)
    load_weights(model, weights)
    return model
