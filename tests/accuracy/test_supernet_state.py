"""What a supernet was trained as, in a file beside its weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnv2search.accuracy.evaluators.supernet_training import State, read_state, write_state
from mnv2search.errors import TrainingError
from mnv2search.supernet.proxy_scale import Fidelity


@pytest.mark.parametrize("content", ["[" * 100_000, "{", "[]", "{}", '{"fidelity": 1}', "\udcff", '{"epochs": NaN}'])
def test_a_damaged_state_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "supernet.json").write_text(content, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(TrainingError, match=r"supernet\.json cannot be read"):
        read_state(tmp_path)


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_state(tmp_path) is None
    state = State(fidelity=Fidelity(0.5, 0.75), epochs=2.5, side=32)
    write_state(tmp_path, state)
    assert read_state(tmp_path) == state
