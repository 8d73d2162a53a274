"""Weights of one network as the beginning of another."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from mnv2search.errors import WeightsError
from mnv2search.model.build import MobileNet, build
from mnv2search.spec.model_spec import BlockSpec, Classifier, ModelSpec
from mnv2search.supernet.inheritance import inherit

ROWS = (
    BlockSpec(channels=16, expansion=1),
    BlockSpec(channels=24, stride=2, repeats=2, kernel=5),
    BlockSpec(channels=32, stride=2, repeats=2, transform="squeeze_excite"),
)
SPEC = ModelSpec(name="old", resolution=32, blocks=ROWS, last_channels=96, head=Classifier(classes=5))


def lived_in(spec: ModelSpec) -> MobileNet:
    """A network whose norms are not those of the beginning."""
    model = build(spec, seed=1).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.normal_(0, 0.1, generator=generator)
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_(0, 0.1, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)
    return model


def images(side: int = 32) -> Tensor:
    return torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(3))


def answers(model: MobileNet) -> Tensor:
    with torch.no_grad():
        answer: Tensor = model.eval()(images())
        return answer


def row(index: int, **changes: object) -> ModelSpec:
    """The spec with one row changed."""
    rows = list(ROWS)
    rows[index] = replace(rows[index], **changes)  # type: ignore[arg-type]
    return replace(SPEC, name="new", blocks=tuple(rows))


def same(new: MobileNet, old: MobileNet) -> bool:
    return bool(torch.allclose(answers(new), answers(old), rtol=1e-4, atol=1e-5))


def test_an_equal_network_becomes_the_same() -> None:
    old, new = lived_in(SPEC), build(SPEC, seed=9)
    found = inherit(new, old)
    assert torch.equal(answers(new), answers(old))
    assert (found.share, found.new_blocks, found.classifier) == (1.0, 0, True)


def test_further_blocks_change_nothing_at_first() -> None:
    old, new = lived_in(SPEC), build(row(1, repeats=4), seed=9)
    assert inherit(new, old).new_blocks == 2
    assert same(new, old)


def test_larger_kernels_change_nothing_at_first() -> None:
    old, new = lived_in(SPEC), build(row(1, kernel=7), seed=9)
    inherit(new, old)
    assert same(new, old)


def test_more_hidden_channels_change_nothing_at_first() -> None:
    old, new = lived_in(SPEC), build(row(1, expansion=8), seed=9)
    inherit(new, old)
    with torch.no_grad():  # what the new hidden channels add is all that differs
        for unit, kept in ((2, 96), (3, 144)):
            weight = new.get_parameter(f"features.{unit}.conv.2.weight")
            assert weight.shape[1] > kept
            assert not weight[:, kept:].any()
    assert same(new, old)


def test_a_narrower_network_takes_the_heaviest_channels() -> None:
    old = lived_in(SPEC)
    with torch.no_grad():
        old.get_parameter("features.6.1.weight")[:48] *= 1e-3
    new = build(replace(SPEC, name="new", last_channels=48), seed=9)
    inherit(new, old)
    for name, kept in (
        ("features.6.0.weight", slice(48, None)),
        ("classifier.1.weight", (slice(None), slice(48, None))),
    ):
        assert torch.equal(new.get_parameter(name), old.get_parameter(name)[kept])


def test_channels_that_carry_nothing_are_not_missed() -> None:
    wide = lived_in(row(2, channels=40, repeats=1))
    with torch.no_grad():
        for tensor in wide.state_dict().values():
            if tensor.shape[:1] == (40,):  # the row's channels: projections and their norms
                tensor[32:] = 0
    new = build(row(2, repeats=1), seed=9)
    inherit(new, wide)
    assert same(new, wide)


def test_other_classes_leave_the_classifier_as_it_is() -> None:
    new = build(replace(SPEC, head=Classifier(classes=3)), seed=9)
    before = new.get_parameter("classifier.1.weight").clone()
    assert not inherit(new, lived_in(SPEC)).classifier
    assert torch.equal(new.get_parameter("classifier.1.weight"), before)


def test_other_rows_are_refused() -> None:
    with pytest.raises(WeightsError, match="new has 2 rows of blocks and old has 3"):
        inherit(build(replace(SPEC, name="new", blocks=ROWS[:2]), seed=0), lived_in(SPEC))


def test_blocks_that_differ_within_a_stage_take_over_from_a_row() -> None:
    """A row of two blocks, written as two rows because their kernels differ."""
    old = lived_in(SPEC)
    row_number = next(i for i, block in enumerate(ROWS) if block.repeats == 2)
    first, rest = replace(ROWS[row_number], repeats=1), replace(ROWS[row_number], repeats=1, stride=1)
    split = replace(SPEC, name="split", blocks=(*ROWS[:row_number], first, rest, *ROWS[row_number + 1 :]))
    found = inherit(new := build(split, seed=9), old)
    assert found.share == 1.0
    assert same(new, old)
