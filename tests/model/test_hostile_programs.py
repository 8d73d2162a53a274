"""`.pt2` files that run a program under `torch.export.load`, given to every command that reads weights."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hostile_files import PROGRAMS, Members, members, packed
from model_specs import EXOTIC
from PIL import Image

from mnv2search.errors import WeightsError
from mnv2search.export import export
from mnv2search.model.weights.network_file import read_network, read_spec

sys.path.append(str(Path(__file__).parents[1] / "training"))

from pictures import draw_pictures

Run = Callable[..., Any]
PAYLOADS = pytest.mark.parametrize("vector", PROGRAMS)
COMMANDS = {
    "check": ["check", "net.pt2"],
    "compile": ["compile", "net.pt2", "-o", "out.pt"],
    "predict": ["predict", "net.pt2", "one.png"],
    "from": ["train", "mine.yaml", "--data", "photos", "--from", "net.pt2", "--epochs", "1", "-o", "out"],
}
SPEC = "mnv2search: 1\nname: mine\nresolution: 32\nhead: {classes: 3}\nblocks:\n  - {t: 1, c: 8, n: 1, s: 2}\n"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Members:
    """The members of a program that our exporter wrote."""
    path = tmp_path_factory.mktemp("programs") / "net.pt2"
    export(EXOTIC["plain"], path)
    return members(path.read_bytes())


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """The folder that is there once a payload has run."""
    return tmp_path / "a-program-ran"


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
@PAYLOADS
def test_no_command_runs_what_a_program_holds(
    run: Run, sound: Members, made: Path, tmp_path: Path, words: list[str], vector: str
) -> None:
    (tmp_path / "net.pt2").write_bytes(packed(PROGRAMS[vector](sound, made)))
    (tmp_path / "mine.yaml").write_text(SPEC)
    Image.new("RGB", (40, 40)).save(tmp_path / "one.png")
    draw_pictures(tmp_path / "photos", count=6)
    done = run(*words)
    assert not made.exists()
    assert done.code in (0, 2)


@pytest.mark.parametrize("vector", ["pickled-weight", "legacy-weights"])
def test_pickled_weights_are_refused(sound: Members, made: Path, tmp_path: Path, vector: str) -> None:
    (tmp_path / "net.pt2").write_bytes(packed(PROGRAMS[vector](sound, made)))
    with pytest.raises(WeightsError, match="pickled"):
        read_network(tmp_path / "net.pt2")


@pytest.mark.parametrize("vector", ["sample-inputs", "opaque-constant", "expression"])
def test_what_a_network_does_not_need_is_not_read(sound: Members, made: Path, tmp_path: Path, vector: str) -> None:
    (tmp_path / "net.pt2").write_bytes(packed(PROGRAMS[vector](sound, made)))
    assert read_spec(tmp_path / "net.pt2") == EXOTIC["plain"]
