"""Networks with their batch norms folded away."""

from __future__ import annotations

import pytest
import torch
from model_specs import EXOTIC, images, lively

from mnv2search.model.fold import fold
from mnv2search.spec.model_spec import ModelSpec


@pytest.mark.parametrize("spec", EXOTIC.values(), ids=EXOTIC.keys())
def test_folding_changes_no_answer(spec: ModelSpec) -> None:
    model = lively(spec)
    folded = fold(model)
    with torch.no_grad():
        expected, found = model(images(spec)), folded(images(spec))
    assert (expected - found).abs().max() <= 1e-5 * expected.abs().max()
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())


def test_folding_leaves_the_network_as_it_was() -> None:
    model = lively(EXOTIC["split-uneven"])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fold(model)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_group_norms_stay() -> None:
    folded = fold(lively(EXOTIC["mixed-norms"]))
    assert sum(isinstance(module, torch.nn.GroupNorm) for module in folded.modules()) == 3
