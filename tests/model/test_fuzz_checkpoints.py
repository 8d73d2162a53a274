"""The fuzzer of files of weights, for a few reads."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from fuzz_checkpoints import reads


def test_changed_files_are_accepted_or_refused_and_run_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = list(reads(90, seed=0))
    assert {read.outcome for read in found} == {"accepted", "refused"}
    assert not any(read.ran for read in found)
