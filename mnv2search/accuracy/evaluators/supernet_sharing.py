"""Trained shared weights as bytes, for processes that evaluate with them without training."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from mnv2search.accuracy.evaluators.supernet_training import State, SupernetOptions, TrainedSupernet
from mnv2search.data.dataset import Dataset
from mnv2search.data.prepare import prepare
from mnv2search.errors import EvaluatorError, WeightsError
from mnv2search.model.elastic import ElasticNet
from mnv2search.model.weights.files import checked_state_dict, read_weights_content
from mnv2search.model.weights.network_file import torch_bytes
from mnv2search.spec.space import SearchSpace
from mnv2search.supernet.proxy_scale import reduced
from mnv2search.supernet.train import suited
from mnv2search.untrusted import UnsafeFileError, json_as

FORMAT = 1
MARK = "mnv2search_shared_weights"
# Name of the weights in messages.
WEIGHTS = Path("the shared weights of the run")
HINT = "use the same version of mnv2search for the run and all of its workers"


def shared_content(supernet: TrainedSupernet, dataset: Dataset) -> bytes:
    """Shared weights with the state of their training and a summary of its images."""
    state_dict = {name: tensor.detach().cpu().contiguous() for name, tensor in supernet.net.state_dict().items()}
    told = {"state": json.dumps(asdict(supernet.state)), "images": json.dumps(_summary(dataset))}
    return torch_bytes({MARK: FORMAT, **told, "state_dict": state_dict})


def shared_supernet(
    space: SearchSpace, dataset: Dataset, options: SupernetOptions, content: bytes
) -> TrainedSupernet:
    """The supernet of `shared_content`, with the images of this machine.

    Raises:
        DataError: the images cannot be read.
        EvaluatorError: the content cannot be read, or was trained for other images or another space.
    """
    try:
        found = read_weights_content(content)
        if not isinstance(found, dict) or found.get(MARK) != FORMAT:
            raise EvaluatorError(f"{WEIGHTS} have another format", hint=HINT)
        state, summary = json_as(State, str(found.get("state"))), json_as(dict[str, object], str(found.get("images")))
        weights = checked_state_dict(found.get("state_dict"), WEIGHTS)
    except (UnsafeFileError, WeightsError) as error:
        raise EvaluatorError(f"{WEIGHTS} cannot be read: {error}", hint=HINT) from error
    for what, value in _summary(dataset).items():
        if summary.get(what) != value:
            raise EvaluatorError(
                f"the images in {dataset.root} differ from those of the run: {what} {value}, not {summary.get(what)}",
                hint="copy the images of the run to the same path on this machine",
            )
    prepared = prepare(dataset, side=state.side, recipe=options.recipe, splits=("train", "val"))
    net = ElasticNet(space, change=lambda spec: reduced(spec, state.fidelity)).to(options.device)
    try:
        net.load_state_dict(weights)
    except (RuntimeError, TypeError) as error:
        raise EvaluatorError(f"{WEIGHTS} do not fit the space {space.name}", hint=HINT) from error
    return TrainedSupernet(
        net=net,
        state=state,
        recipe=suited(prepared.recipe, epochs=state.epochs),
        train=prepared.examples["train"],
        val=prepared.examples["val"],
        source=None,
        notes=(),
    )


def _summary(dataset: Dataset) -> dict[str, object]:
    """Properties of images that do not depend on their path."""
    return {"classes": list(dataset.classes), "train": len(dataset.train), "val": len(dataset.val)}
