"""Applies each mutant to a copy of the repository, and shows which test finds it: `make mutants`.

Arguments are words of the names of mutants to run; without any, all are run. The exit code is 1 where one survives.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from mutants import MUTANTS, Mutant, place

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = shutil.ignore_patterns(".git", ".venv*", ".*_cache", ".hypothesis", "__pycache__", "build", "dist")


def first_failure(copy: Path, tests: Sequence[str]) -> str:
    """The first test that fails in a copy of the repository; empty where all pass."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return ""
    found = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", done.stdout, flags=re.MULTILINE)
    return found[1] if found else f"pytest ended with {done.returncode}: {(done.stdout + done.stderr)[-300:]}"


def verdict(mutant: Mutant, copy: Path) -> str:
    """The test that finds a mutant and passes without it, or why there is none."""
    try:
        path, begin, end = place(mutant, copy / "mnv2search")
    except LookupError as error:
        return f"NOT APPLIED: {error}"
    text = path.read_text(encoding="utf-8")
    path.write_text(text[:begin] + mutant.new + text[end:], encoding="utf-8")
    found = first_failure(copy, mutant.tests)
    path.write_text(text, encoding="utf-8")
    if not found:
        return "SURVIVED"
    return f"NOT TESTED: {found} fails without it too" if first_failure(copy, [found]) else found


def main(words: Sequence[str]) -> int:
    """Run the mutants whose names have one of the words."""
    chosen = [mutant for mutant in MUTANTS if not words or any(word in mutant.name for word in words)]
    is_good = bool(chosen)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "mnv2search"
        shutil.copytree(ROOT, copy, ignore=LEFT_OUT, symlinks=True)
        for mutant in chosen:
            begin = time.monotonic()
            found = verdict(mutant, copy)
            is_good = is_good and not found.startswith(("SURVIVED", "NOT APPLIED", "NOT TESTED"))
            print(f"{mutant.name}: {found} ({time.monotonic() - begin:.0f} s)", flush=True)
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
