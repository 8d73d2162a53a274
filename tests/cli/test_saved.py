"""Files of trained networks where a spec or a network is asked for."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from mnv2search.export import export
from mnv2search.spec.yaml.codec import load_spec

Run = Callable[..., Any]


@pytest.fixture
def saved(tmp_path: Path) -> str:
    (tmp_path / "mine.yaml").write_text(
        "mnv2search: 1\nname: mine\nresolution: 32\nhead: {classes: 2}\nblocks:\n  - {t: 6, c: 24, n: 2, s: 2}\n"
    )
    export(load_spec(tmp_path / "mine.yaml"), tmp_path / "best.pt")
    Image.new("RGB", (40, 40)).save(tmp_path / "one.png")
    return "best.pt"


@pytest.mark.parametrize("words", [["cost"], ["latency", "--device", "simulated"]], ids=["cost", "latency"])
def test_the_spec_in_a_file_of_ours_is_taken(run: Run, saved: str, words: list[str]) -> None:
    done = run(*words, saved, "mine.yaml", "--json")
    assert done.code == 0, done.err
    assert [one["name"] for one in json.loads(done.out)] == ["mine", "mine"]


def test_the_spec_in_a_file_of_ours_is_checked(run: Run, saved: str) -> None:
    done = run("check", saved)
    assert (done.code, done.out) == (0, "")


@pytest.mark.parametrize("command", ["cost", "check", "compile"])
@pytest.mark.parametrize("name", ["net.onnx", "last.ckpt", "net.tflite", "blob"])
def test_other_files_that_are_no_text_are_told_apart(run: Run, tmp_path: Path, command: str, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x08\x00ab" * 600_000)
    done = run(command, name)
    assert done.code == 2
    assert f"{name} is not a spec: it is not text" in done.out + done.err
    assert "best.pt" in done.out + done.err


@pytest.mark.parametrize("command", ["cost", "predict"])
def test_weights_without_a_spec_are_refused(run: Run, saved: str, tmp_path: Path, command: str) -> None:
    torch.save({"w": torch.zeros(1)}, tmp_path / "w.pt")
    done = run(command, "w.pt", *(["one.png"] if command == "predict" else []))
    assert done.code == 2
    assert "contains no spec for its weights" in done.err


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("text.pt", b"hello there", "it was not written by torch.save"),
        ("empty.pt", b"", "it is empty"),
        ("cut.pt", b"PK\x03\x04hello", "it is cut off or damaged"),
    ],
)
def test_what_predicts_nothing_is_told_in_our_words(
    run: Run, saved: str, tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    done = run("predict", name, "one.png")
    assert done.code == 2
    assert said in done.err
    assert "Weights only" not in done.err
    assert "best.pt" in done.err


@pytest.mark.parametrize(
    ("name", "said"), [("mine.yaml", "is a spec without weights"), ("none.pt", "there is no such file")]
)
@pytest.mark.usefixtures("saved")
def test_what_is_no_trained_network_is_told(run: Run, name: str, said: str) -> None:
    done = run("predict", name, "one.png")
    assert done.code == 2
    assert said in done.err


def test_a_checkpoint_is_no_network(run: Run, saved: str, tmp_path: Path) -> None:
    torch.save({"mnv2search_checkpoint": 1}, tmp_path / "last.ckpt")
    done = run("predict", "last.ckpt", "one.png")
    assert done.code == 2
    assert "is a checkpoint" in done.err
    assert "give the best.pt beside it" in done.err


def test_a_picture_that_exists_is_a_mistake(run: Run, saved: str) -> None:
    assert run("predict", saved, "one.png").code == 0
    assert run("predict", saved, "one.png").code == 2


def test_plain_specs_load_no_torch() -> None:
    import subprocess

    code = "import sys; from mnv2search.workflows.options import chosen_spec; chosen_spec('mnv2', first=True); "
    done = subprocess.run(
        [sys.executable, "-c", f"{code}print('torch' in sys.modules)"], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "False", done.stderr
