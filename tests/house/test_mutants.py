"""The mutants of `make mutants` fit the code of today."""

from __future__ import annotations

import sys

import pytest
from pages import ROOT

sys.path.append(str(ROOT / "tests" / "mutants"))

from mutants import MUTANTS, Mutant, place


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_has_one_place_and_its_tests_exist(mutant: Mutant) -> None:
    path, begin, end = place(mutant, ROOT / "mnv2search")
    assert path.read_text(encoding="utf-8")[begin:end]
    assert [test for test in mutant.tests if not (ROOT / test).exists()] == []
