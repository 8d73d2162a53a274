"""Reading and writing undo each other, and broken text always fails with a place."""

from mnv2search.spec.codec import dumps, load, loads
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.space import SearchSpace


def test_the_default_space_survives_a_round_trip() -> None:
    space = load("mnv2")
    assert isinstance(space, SearchSpace)
    assert loads(dumps(space)) == space


def test_a_file_without_choices_is_a_spec() -> None:
    text = "{mnv2search: 1, name: one, blocks: [[6, 24, 2, 2]]}"
    assert isinstance(loads(text), ModelSpec)
