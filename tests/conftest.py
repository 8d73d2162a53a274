"""What every test starts from."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's latency cache."""
    monkeypatch.setenv("MNV2SEARCH_CACHE", str(tmp_path / "cache"))
