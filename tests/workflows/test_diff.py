"""Differences between two networks, row by row, and their effect on the costs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings

from mnv2search.cost import cost_of
from mnv2search.errors import OptionError
from mnv2search.report.stages.spec_diff import diff_rows, effect_rows, same_lines
from mnv2search.results.stages.spec_diff import SpecDiff
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.yaml.codec import load_spec
from mnv2search.testing.strategies import specs
from mnv2search.workflows.diff import diff
from mnv2search.workflows.make_spec import make_spec

Changes = dict[str, dict[str, tuple[str, str]]]
V2 = load_spec("mobilenet_v2_1.0_224")


def changed(found: SpecDiff) -> Changes:
    """The changes of every stage of A that differs in B."""
    return {
        stage.before.at: {change.field: (change.before, change.after) for change in stage.changes}
        for stage in found.stages
        if stage.before and stage.changes
    }


def row(number: int, **fields: object) -> ModelSpec:
    """MobileNetV2 with another row."""
    blocks = list(V2.blocks)
    blocks[number] = replace(blocks[number], **fields)  # type: ignore[arg-type]
    return replace(V2, blocks=tuple(blocks))


@settings(max_examples=30, deadline=None)
@given(specs(), specs())
def test_differences_of_stages_add_up_to_those_of_the_networks(one: ModelSpec, other: ModelSpec) -> None:
    found = diff(one, other)
    assert sum(stage.params for stage in found.stages) == cost_of(other).params - cost_of(one).params
    assert sum(stage.madds for stage in found.stages) == cost_of(other).madds - cost_of(one).madds


@settings(max_examples=30, deadline=None)
@given(specs())
def test_a_network_does_not_differ_from_itself(spec: ModelSpec) -> None:
    assert diff(spec, replace(spec, name="other")).is_same


@settings(max_examples=30, deadline=None)
@given(specs(), specs())
def test_networks_that_differ_are_not_the_same(one: ModelSpec, other: ModelSpec) -> None:
    assert diff(one, other).is_same == (replace(other, name=one.name) == one)


@pytest.mark.parametrize(
    ("other", "changes"),
    [
        pytest.param(row(2, kernel=5), {"blocks[2]": {"kernel": ("3", "5")}}, id="kernel"),
        pytest.param(row(3, repeats=2), {"blocks[3]": {"repeats": ("4", "2")}}, id="repeats"),
        pytest.param(row(4, stride=2), {"blocks[4]": {"stride": ("1", "2")}}, id="stride"),
        pytest.param(
            row(1, expansion=3, channels=32),
            {"blocks[1]": {"expansion": ("6", "3"), "channels": ("24", "32")}},
            id="two fields",
        ),
        pytest.param(
            replace(V2, last_channels=640), {"last_channels": {"last_channels": ("1280", "640")}}, id="last"
        ),
        pytest.param(make_spec(V2, classes=5), {"head": {"classes": ("1001", "5")}}, id="head"),
        pytest.param(
            replace(V2, stem=replace(V2.stem, channels=16)), {"stem": {"channels": ("32", "16")}}, id="stem"
        ),
    ],
)
def test_a_change_is_named_where_it_is(other: ModelSpec, changes: Changes) -> None:
    assert changed(diff(V2, other)) == changes


def test_changes_of_the_whole_network_are_apart() -> None:
    other = replace(V2, resolution=160, width=0.5, activation="silu", batch_norm=replace(V2.batch_norm, eps=0.01))
    found = diff(V2, other)
    assert {change.field for change in found.changes} == {"resolution", "width", "activation", "batch_norm.eps"}
    assert changed(found) == {}


def test_a_removed_row_is_only_in_a() -> None:
    found = diff(V2, replace(V2, blocks=V2.blocks[:-1]))
    alone = [stage.before for stage in found.stages if stage.after is None]
    assert [part and part.at for part in alone] == ["blocks[6]"]
    assert found.stages[7].params == -473_920
    assert "only in A: {t: 6, c: 320, n: 1, s: 1}" in [cells[2] for cells in diff_rows(found).rows]


def test_repeats_of_a_row_beside_rows_of_their_own_are_numbered() -> None:
    singles = tuple(replace(V2.blocks[1], repeats=1, stride=stride) for stride in (2, 1))
    found = diff(V2, replace(V2, blocks=(V2.blocks[0], *singles, *V2.blocks[2:])))
    labels = [(stage.before and stage.before.label, stage.after and stage.after.label) for stage in found.stages[2:4]]
    assert labels == [("blocks[1] 1/2", "blocks[1]"), ("blocks[1] 2/2", "blocks[2]")]
    assert not changed(found)


def test_a_head_of_another_kind_differs_as_a_whole() -> None:
    found = diff("mobilenet_v2_1.0_224", "ssdlite_mobilenet_v2")
    assert changed(found)["head"] == {"head": ("classifier", "ssdlite")}


def test_a_stage_that_one_network_lacks_counts_in_full() -> None:
    found = diff(V2, replace(V2, head=None))
    assert found.stages[-1].after is None
    assert found.stages[-1].params == -1_282_281


def test_the_effect_has_ratios() -> None:
    rows = {cells[0]: cells[1:] for cells in effect_rows(diff("mobilenet_v2_1.0_224", "mobilenet_v2_0.5_160")).rows}
    assert rows["parameters"] == ("3,506,153", "1,969,961", "-1,536,192", "0.56")
    assert rows["peak memory, kB fp32"] == ("6,021", "1,536", "-4,485", "0.26")


def test_equal_networks_are_said_to_be_the_same() -> None:
    assert list(same_lines(diff(V2, V2))) == ["the networks are the same"]
    assert list(same_lines(diff(V2, replace(V2, name="x")))) == ["the networks differ only in their names"]


def test_a_space_is_no_network() -> None:
    with pytest.raises(OptionError, match="mnv2 is a search space") as caught:
        diff("mobilenet_v2_1.0_224", "mnv2")
    assert caught.value.hint.endswith("mnv2search spec mnv2 --first -o net.yaml")


def test_standard_input_holds_one_network() -> None:
    with pytest.raises(OptionError, match="only one network"):
        diff("-", "-")
