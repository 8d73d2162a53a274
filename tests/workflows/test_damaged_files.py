"""Damaged files of runs and caches are read or refused; nothing else is raised."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def fuzzer() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import fuzz_records

        return fuzz_records


@pytest.fixture(scope="module")
def samples(fuzzer: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNV2SEARCH_CACHE", "")  # put back at the end
        return fuzzer.Samples(tmp_path_factory.mktemp("samples"))


def test_a_damaged_file_is_read_or_refused(samples: Any) -> None:
    rng = random.Random(7)
    outcomes = Counter(samples.read(rng)[1] for _ in range(400))
    assert set(outcomes) == {"read", "refused"}


def test_a_command_on_a_damaged_folder_ends_with_an_exit_code(samples: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [])  # put back at the end
    rng = random.Random(8)
    outcomes = {samples.command(rng)[1] for _ in range(8)}
    assert outcomes <= {"exit 0", "exit 1", "exit 2", "exit 3"}


def test_the_fuzzer_notices_another_error(fuzzer: Any) -> None:
    def fails() -> None:
        raise KeyError("missing")

    assert "KeyError: 'missing'" in fuzzer.outcome_of(fails)
