"""Generic features tell networks apart that cost much the same."""

from __future__ import annotations

import math

import pytest

from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import plan
from mnv2search.spec.yaml.codec import loads
from mnv2search.study.candidates import FEATURES, features_of

SPEC = """
mnv2search: 1
name: two-stages
resolution: 32
stem: {{c: 16, k: 3, s: 1}}
blocks:
  - {{t: {expansion}, c: 16, n: {first}, s: 2}}
  - {{t: {expansion}, c: 16, n: {second}, s: 2}}
head: {{classes: 10}}
"""


def feature(name: str, *, expansion: int = 2, first: int = 2, second: int = 2) -> float:
    spec = loads(SPEC.format(expansion=expansion, first=first, second=second))
    assert isinstance(spec, ModelSpec)
    return dict(zip(FEATURES, features_of(plan(spec)), strict=True))[name]


def test_the_blocks_of_each_side_are_counted() -> None:
    assert feature("log_stage_blocks", first=2, second=3) == pytest.approx(math.log(3) + math.log(4))


def test_blocks_spread_evenly_over_sides_count_for_more() -> None:
    assert feature("log_blocks", first=2, second=2) == feature("log_blocks", first=1, second=3)
    assert feature("log_stage_blocks", first=2, second=2) > feature("log_stage_blocks", first=1, second=3)


def test_expansions_are_added_over_blocks() -> None:
    assert feature("log_expansion", expansion=4) == pytest.approx(math.log1p(4 * math.log(4)))
    assert feature("log_expansion", expansion=1) == 0.0
