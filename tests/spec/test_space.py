"""Search spaces: what picks resolve to, which picks coincide, and what is refused."""

import itertools
import math
import pickle
import random
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from mnv2search.errors import OptionError, SpecError, UnknownNameError
from mnv2search.spec.model_spec import BlockSpec, ModelSpec
from mnv2search.spec.space import (
    Axis,
    SearchSpace,
    canonical,
    origins,
    pick_of,
    random_pick,
    resolve,
    resolve_values,
)
from mnv2search.spec.space_rules import Scalar, flat
from mnv2search.spec.yaml.codec import load_space, load_spec, loads
from mnv2search.testing.strategies import picks, search_spaces

relaxed = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much], deadline=None)
TEMPLATE = ModelSpec(name="s", blocks=(BlockSpec(channels=16), BlockSpec(channels=24, stride=2, repeats=2)))


def space_of(*rows: str, more: str = "") -> SearchSpace:
    value = loads(f"mnv2search: 1\nname: s\n{more}blocks: [{', '.join(rows)}]\n")
    assert isinstance(value, SearchSpace)
    return value


EACH = space_of("{c: 24, s: 2, n: [1, 2, 3], each: {t: [3, 6]}}", "{c: 32, t: [2, 4]}", more="width: [1.0, 0.5]\n")


def test_a_pick_takes_the_option_of_every_axis() -> None:
    space = space_of("[[3, 6], 24, [1, 2], 1]", more="width: [1.0, 0.5]\nstem: {c: [32, 16]}\n")
    spec = resolve(space, (1, 1, 1, 1))
    assert (spec.width, spec.stem.channels) == (0.5, 16)
    assert spec.blocks == (BlockSpec(channels=24, expansion=6, repeats=2),)


def test_each_resolves_to_one_row_a_repeat_with_the_stride_in_the_first() -> None:
    values = {"blocks[0].repeats": 3, "blocks[0].each[1].expansion": 6}
    rows = [(b.expansion, b.repeats, b.stride) for b in resolve_values(EACH, values, rest="first").blocks]
    assert rows == [(3, 1, 2), (6, 1, 1), (3, 1, 1), (2, 1, 1)]


def test_axes_come_in_the_order_of_the_fields() -> None:
    assert [axis.at for axis in EACH.axes] == [
        "width",
        "blocks[0].repeats",
        "blocks[0].each[0].expansion",
        "blocks[0].each[1].expansion",
        "blocks[0].each[2].expansion",
        "blocks[1].expansion",
    ]


def test_the_order_in_which_axes_are_given_does_not_matter() -> None:
    assert SearchSpace(template=EACH.template, axes=EACH.axes[::-1]) == EACH


def test_size_counts_picks_and_distinct_counts_those_that_differ() -> None:
    every = list(itertools.product(*map(range, EACH.cards)))
    networks = {resolve(EACH, pick) for pick in every}
    assert (EACH.size, EACH.distinct) == (len(every), len(networks)) == (96, 56)


def test_a_space_without_axes_has_one_pick() -> None:
    space = SearchSpace(template=TEMPLATE, axes=())
    assert (space.size, space.distinct, resolve(space, ())) == (1, 1, TEMPLATE)


def test_canonical_zeroes_what_the_repeats_leave_idle() -> None:
    assert canonical(EACH, (1, 1, 1, 1, 1, 1)) == (1, 1, 1, 1, 0, 1)


def test_origins_name_the_row_of_the_template() -> None:
    assert origins(EACH, (0, 2, 0, 0, 0, 0)) == (0, 0, 0, 1)


@relaxed
@given(search_spaces(), st.data())
def test_canonical_changes_no_network_and_tells_networks_apart(space: SearchSpace, data: st.DataObject) -> None:
    one, two = data.draw(picks(space)), data.draw(picks(space))
    assert resolve(space, canonical(space, one)) == resolve(space, one)
    assert (canonical(space, one) == canonical(space, two)) <= (resolve(space, one) == resolve(space, two))


@relaxed
@given(search_spaces(), st.data())
def test_the_pick_of_a_resolved_network_makes_it_again(space: SearchSpace, data: st.DataObject) -> None:
    spec = resolve(space, data.draw(picks(space)))
    found = pick_of(space, spec)
    assert found is not None
    again = resolve(space, found)
    assert replace(again, blocks=flat(again.blocks)) == replace(spec, blocks=flat(spec.blocks))


def test_the_pick_of_a_network_survives_merged_rows() -> None:
    spec = resolve(EACH, (0, 1, 1, 1, 0, 0))
    merged = ModelSpec(name="other", blocks=(BlockSpec(channels=24, repeats=2, stride=2), spec.blocks[-1]))
    assert pick_of(EACH, merged) == (0, 1, 1, 1, 0, 0)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"width": 0.7}, id="option"),
        pytest.param({"resolution": 96}, id="fixed field"),
        pytest.param({"blocks": (BlockSpec(channels=24, stride=2),)}, id="missing row"),
        pytest.param({"head": None}, id="head"),
    ],
)
def test_a_network_that_the_space_lacks_has_no_pick(changes: dict[str, Any]) -> None:
    assert pick_of(EACH, replace(resolve(EACH, (0,) * 6), **changes)) is None


@relaxed
@given(search_spaces())
def test_a_space_can_be_sent_to_another_process(space: SearchSpace) -> None:
    sent = pickle.loads(pickle.dumps(space))
    assert sent == space
    assert resolve(sent, (0,) * len(sent.axes)) == resolve(space, (0,) * len(space.axes))


@relaxed
@given(search_spaces(), st.integers())
def test_random_picks_are_canonical_and_repeatable(space: SearchSpace, seed: int) -> None:
    pick = random_pick(space, random.Random(seed))
    assert pick == canonical(space, pick) == random_pick(space, random.Random(seed))


@pytest.mark.parametrize(
    ("pick", "match"),
    [((0, 0), "has 2 entries, but s has 6 axes"), ((9, 0, 0, 0, 0, 0), "index 9"), ((-1, 0, 0, 0, 0, 0), "index -1")],
)
def test_a_pick_out_of_range_is_refused(pick: tuple[int, ...], match: str) -> None:
    with pytest.raises(OptionError, match=match):
        resolve(EACH, pick)


@pytest.mark.parametrize("width", [0.5, "0.5", "0.50", ".5"])
def test_values_are_taken_as_text_too(width: float | str) -> None:
    assert resolve_values(EACH, {"width": width}, rest="first").width == 0.5


@pytest.mark.parametrize(("text", "kept"), [("true", True), ("false", False)])
def test_booleans_are_taken_as_words(text: str, kept: bool) -> None:
    space = space_of("[6, 24, 1, 1]", more="keep_stem: [true, false]\n")
    assert resolve_values(space, {"keep_stem": text}).keep_stem is kept


@pytest.mark.parametrize("value", ["1", 1, 0, "True", "on"])
def test_a_number_is_no_boolean(value: int | str) -> None:
    space = space_of("[6, 24, 1, 1]", more="keep_stem: [true, false]\n")
    with pytest.raises(OptionError, match="keep_stem has no option"):
        resolve_values(space, {"keep_stem": value})


def test_a_star_stands_for_every_index_and_later_entries_win() -> None:
    values: dict[str, Scalar] = {
        "blocks[0].repeats": 2,
        "blocks[*].each[*].expansion": 6,
        "blocks[0].each[0].expansion": "3",
    }
    assert [b.expansion for b in resolve_values(EACH, values, rest="first").blocks] == [3, 6, 2]


def test_what_is_not_named_is_refused_with_how_to_name_it() -> None:
    with pytest.raises(SpecError, match=r"choices still open: blocks\[0\].each\[0\].expansion and 1 more"):
        resolve_values(EACH, {"width": 1, "blocks[0].repeats": 1})


def test_idle_axes_need_no_value() -> None:
    values = {"width": 1, "blocks[0].repeats": 1, "blocks[0].each[0].expansion": 3, "blocks[1].expansion": 4}
    assert len(resolve_values(EACH, values).blocks) == 2


def test_an_unknown_axis_offers_near_ones() -> None:
    with pytest.raises(UnknownNameError) as caught:
        resolve_values(EACH, {"blocks[1].expansoin": 3})
    assert "blocks[1].expansion" in caught.value.hint


def test_an_unknown_option_lists_the_known() -> None:
    with pytest.raises(OptionError, match="width has no option 7") as caught:
        resolve_values(EACH, {"width": 7})
    assert caught.value.hint == "use one of 1.0, 0.5"


@pytest.mark.parametrize(
    ("at", "options", "message"),
    [
        pytest.param("depth", (1, 2), "depth is not a place for a choice", id="unknown field"),
        pytest.param("blocks[9].stride", (1, 2), "names a row beyond the last", id="unknown row"),
        pytest.param("blocks[0].stride", (1,), "has 1 options", id="one option"),
        pytest.param("blocks[0].stride", (1, 3), "stride is 3", id="option out of range"),
        pytest.param("blocks[0].stride", (2, 1), "the template has 1", id="template has another first"),
        pytest.param("blocks[0].kernel", (3, 5, 5), "has an option twice", id="repeated option"),
        pytest.param("blocks[0].each[0].stride", (1, 2), "stride is chosen for each repeat", id="stride by repeat"),
        pytest.param("blocks[1].each[0].kernel", (3, 5), "alike for each of 2 repeats", id="repeat left out"),
        pytest.param("blocks[0].activation", (None, "relu"), "has the option None", id="None for a word"),
        pytest.param("name", ("a", "b"), "name is not a place for a choice", id="name"),
    ],
)
def test_an_axis_that_breaks_a_rule_is_refused(at: str, options: tuple[Any, ...], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        SearchSpace(template=TEMPLATE, axes=(Axis(at=at, options=options),))


def test_a_field_is_chosen_by_row_or_by_repeat() -> None:
    axes = [Axis(at=at, options=(3, 5)) for at in ("blocks[0].kernel", "blocks[0].each[0].kernel")]
    with pytest.raises(SpecError, match="by the row and for each repeat"):
        SearchSpace(template=TEMPLATE, axes=tuple(axes))


def test_options_that_do_not_go_together_are_refused_when_resolved() -> None:
    axes = (Axis(at="blocks[0].stride", options=(1, 2)), Axis(at="blocks[0].dilation", options=(1, 2)))
    space = SearchSpace(template=TEMPLATE, axes=axes)
    with pytest.raises(SpecError, match=r"blocks\[0\].dilation is 2 in a row of stride 2"):
        resolve(space, (1, 1))


def test_mobilenet_v2_is_in_the_default_space() -> None:
    space, spec = load_space("mnv2"), load_spec("mobilenet_v2")
    pick = pick_of(space, spec)
    assert pick is not None
    assert sum(b.repeats for b in resolve(space, pick).blocks) == 17


def test_distinct_is_at_most_size() -> None:
    space = load_space("mnv2")
    assert 1 < math.log10(space.distinct) < math.log10(space.size)
