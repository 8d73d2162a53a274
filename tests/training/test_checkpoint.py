"""Checkpoints of trainings, sound and damaged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from pictures import draw_pictures

from mnv2search.errors import TrainingError
from mnv2search.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint

SOUND = Checkpoint(
    job={"recipe": "lr: 1", "side": 32},
    step=3,
    steps=9,
    running_loss=float("nan"),
    best=(0.5, 2, None),
    best_step=1,
    model={"w": torch.ones(2)},
    averaged=None,
    optimizer={"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
    half=False,
    time_s=60,
)
SPEC = "mnv2search: 1\nname: mine\nresolution: 32\nwidth: 0.25\nlast: 16\nblocks:\n  - [1, 8, 1, 2]\n"


def test_a_checkpoint_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "last.ckpt", SOUND)
    found = read_checkpoint(tmp_path / "last.ckpt")
    assert found is not None
    assert repr(found) == repr(SOUND)


def test_no_file_is_no_checkpoint(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path / "last.ckpt") is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mnv2search_checkpoint": 2}, "not a checkpoint of format 1"),
        ({"step": "3"}, "its step is unusable"),
        ({"step": True}, "its step is unusable"),
        ({"running_loss": None}, "its running_loss is unusable"),
        ({"best": [1]}, "its best is unusable"),
        ({"model": None}, "its model is unusable"),
        ({"time_s": "long"}, "its time_s is unusable"),
        ({"other": 1}, "its other is unusable"),
        ({7: 1}, "its 7 is unusable"),
    ],
)
def test_a_checkpoint_with_the_wrong_content_is_refused(tmp_path: Path, change: dict[Any, Any], said: str) -> None:
    torch.save({"mnv2search_checkpoint": 1, **asdict(SOUND), **change}, tmp_path / "last.ckpt")
    with pytest.raises(TrainingError, match=said):
        read_checkpoint(tmp_path / "last.ckpt")


def test_a_checkpoint_that_lacks_something_is_refused(tmp_path: Path) -> None:
    torch.save({"mnv2search_checkpoint": 1, "step": 3}, tmp_path / "last.ckpt")
    with pytest.raises(TrainingError, match="incomplete checkpoint"):
        read_checkpoint(tmp_path / "last.ckpt")


@pytest.mark.parametrize("content", [b"", b"\x80\x02}.", b"PK\x03\x04"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "last.ckpt").write_bytes(content)
    with pytest.raises(TrainingError, match=r"last\.ckpt cannot be read"):
        read_checkpoint(tmp_path / "last.ckpt")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", {"w": torch.ones(2)}),
        ("model", {1: 2}),
        ("optimizer", {}),
        ("optimizer", {"param_groups": 1}),
        ("best", (1,)),
    ],
)
def test_a_checkpoint_that_does_not_fit_its_training_is_refused(
    run: Callable[..., Any], tmp_path: Path, field: str, value: object
) -> None:
    (tmp_path / "mine.yaml").write_text(SPEC)
    (tmp_path / "quick.yaml").write_text("lr: 0.05\nlr_batch: 8\nbatch: 8\nepochs: 1\n")
    draw_pictures(tmp_path / "photos", count=6)
    words = ("train", "mine.yaml", "--data", "photos", "--recipe", "quick.yaml", "--epochs", "1", "-o", "out")
    assert run(*words).code == 0
    path = tmp_path / "out" / "last.ckpt"
    torch.save({**torch.load(path, weights_only=True), field: value}, path)
    done = run(*words)
    assert done.code == 1
    assert "does not match this training" in done.err
