"""The fuzzer of sets of images in small: it prints its counts, and finds nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "fuzz_data.py"


def test_hostile_images_and_sets_end_in_no_traceback() -> None:
    counts = ("--images", "80", "--sets", "80", "--commands", "8", "--memory-mb", "1000")
    done = subprocess.run([sys.executable, str(PROGRAM), *counts], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert done.stdout.count(" 0 failed") == 3
    assert "programs started: 0" in done.stdout
