"""The tutorial on the Raspberry Pi and Android: what does not need these devices is run, in the order of the page."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drawn import draw_pictures
from pages import ROOT, blocks, commands
from test_documents import quick, without

Run = Callable[..., Any]
PAGE = ROOT / "docs" / "tutorials" / "android-and-raspberry-pi.md"
COMMANDS = [words for text in blocks(PAGE, "console") for words in commands(text)]
CLASSIFY, DESCRIBE = blocks(PAGE, "python")


def shortened(words: list[str]) -> list[str]:
    """The words of a command that takes seconds."""
    if words[0] == "latency":
        return [*without(words, "--time"), "--time", "1s"]
    return quick(words)


def python(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False, env={"PYTHONPATH": ""}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_file_of_the_tutorial_classifies_with_litert_alone(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    draw_pictures(tmp_path / "photos", count=40)
    done = {" ".join(words): run(*shortened(words)) for words in COMMANDS}
    assert {words: one.err for words, one in done.items() if one.code} == {}
    assert [words.split()[0] for words in done] == ["data", "run", "train", "compile", "latency"]
    (tmp_path / "classify.py").write_text(CLASSIFY, encoding="utf-8")
    photos = sorted((tmp_path / "photos").rglob("*.png"))[::10]
    lines = python(tmp_path, "classify.py", "mine.tflite", *map(str, photos)).splitlines()
    (tmp_path / "describe.py").write_text(DESCRIBE, encoding="utf-8")
    python(tmp_path, "describe.py")
    description = json.loads((tmp_path / "mine.json").read_text(encoding="utf-8"))
    assert [line.partition(": ")[0] for line in lines] == list(map(str, photos))
    assert all(line.partition(": ")[2].partition(" (")[0] in description["classes"] for line in lines)


def test_the_app_reads_what_the_description_holds() -> None:
    kotlin = "".join(blocks(PAGE, "kotlin"))
    held = {"classes", "mean", "std", "width", "height", "short_side"}
    assert {key for key in held if f'"{key}"' in kotlin} == held
