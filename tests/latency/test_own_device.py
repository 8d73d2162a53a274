"""The device of the documentation is complete, short, and keeps to the contract."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs" / "how-to" / "write-a-device.md"


def blocks() -> list[str]:
    """The code of the page on writing a device: the device, the entry point and the test."""
    return re.findall(r"^```\w+\n(.*?)^```$", DOCS.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with the module, its test and what `pip install` writes of its entry point."""
    device, project, test = blocks()
    entry_points = tomllib.loads(project)["project"]["entry-points"]
    module = entry_points["mnv2search.devices"]["plain-ort"].partition(":")[0]
    (tmp_path / f"{module}.py").write_text(device, encoding="utf-8")
    (tmp_path / f"test_{module}.py").write_text(test, encoding="utf-8")
    record = tmp_path / f"{module}-1.dist-info"
    record.mkdir()
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n", encoding="utf-8")
    groups = [
        "\n".join([f"[{group}]", *(f"{name} = {target}" for name, target in names.items())])
        for group, names in entry_points.items()
    ]
    (record / "entry_points.txt").write_text("\n\n".join(groups) + "\n", encoding="utf-8")
    return tmp_path


def python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A Python of its own that has the folder on its path."""
    environment = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{DOCS.parents[2]}", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_it_takes_less_than_forty_lines() -> None:
    assert sum(len(block.splitlines()) for block in blocks()) < 40


def test_it_keeps_to_the_contract(installed: Path) -> None:
    done = python(installed, "-m", "pytest", "-q", "-W", "error", "-p", "no:anyio", "test_plain_ort.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


def test_doctor_lists_it(installed: Path) -> None:
    done = python(installed, "-m", "mnv2search", "doctor", "--json")
    devices = {one["name"]: one["detail"] for one in json.loads(done.stdout)["devices"]}
    assert devices["plain-ort"] == "plug-in of plain-ort 1, not tried"


def test_the_command_line_finds_it(installed: Path) -> None:
    done = python(installed, "-m", "mnv2search", "latency", "--device", "plain-ort:thread=1", "mobilenet_v2_1.0_224")
    assert done.returncode == 2
    assert "threads" in done.stderr
