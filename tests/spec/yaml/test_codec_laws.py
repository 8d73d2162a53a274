"""Reading and writing undo each other, and broken text always fails with a place."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from mnv2search.errors import SpecError
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.package_files import search_spaces_dir
from mnv2search.spec.space import SearchSpace, resolve
from mnv2search.spec.yaml.codec import dumps, load, load_space, loads
from mnv2search.spec.yaml.write import PickWriter
from mnv2search.testing.strategies import edits, names, picks, search_spaces, specs

SHIPPED = sorted(search_spaces_dir().rglob("*.yaml"))
relaxed = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much], deadline=None)


def shipped_texts() -> st.SearchStrategy[str]:
    return st.sampled_from([path.read_text(encoding="utf-8") for path in SHIPPED])


@relaxed
@given(specs())
def test_a_spec_survives_writing_and_reading(spec: ModelSpec) -> None:
    assert loads(dumps(spec)) == spec


@relaxed
@given(search_spaces())
def test_a_space_survives_writing_and_reading(space: SearchSpace) -> None:
    assert loads(dumps(space)) == space


@relaxed
@given(st.data(), names())
def test_a_pick_is_written_like_the_network_that_it_describes(data: st.DataObject, name: str) -> None:
    space = data.draw(search_spaces())
    drawn, writer = data.draw(st.lists(picks(space), min_size=1, max_size=4)), PickWriter(space)
    expected = [dumps(replace(resolve(space, pick), name=name)) for pick in drawn]
    assert [writer.dumps(pick, name=name) for pick in drawn] == expected


@pytest.mark.parametrize("name", ["", "../x", "a\nb", ".x"])
def test_a_pick_is_not_written_under_a_name_that_is_none(name: str) -> None:
    space = load_space("mnv2")
    with pytest.raises(SpecError, match="name is"):
        PickWriter(space).dumps((0,) * len(space.axes), name=name)


@relaxed
@given(specs() | search_spaces())
def test_writing_is_a_fixed_point(value: ModelSpec | SearchSpace) -> None:
    assert dumps(loads(dumps(value))) == dumps(value)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_file_survives_a_round_trip(path: Path) -> None:
    value = load(path)
    assert loads(dumps(value)) == value


def outcome(text: str) -> Any:
    """The value, or the diagnostics of a SpecError; anything else goes through."""
    try:
        return loads(text)
    except SpecError as error:
        return error.diagnostics


@relaxed
@given(st.data())
def test_one_edited_token_loads_or_fails_with_a_place(data: st.DataObject) -> None:
    found = outcome(data.draw(edits(data.draw(shipped_texts()))))
    places = [(d.line >= 1, d.column >= 1) for d in found] if isinstance(found, tuple) else [(True, True)]
    assert places
    assert set(places) == {(True, True)}


@relaxed
@given(st.text())
def test_any_text_loads_or_fails_with_a_place(text: str) -> None:
    found = outcome(text)
    assert not isinstance(found, tuple) or (found and all(d.line >= 1 for d in found))
