"""Some of the faults of `benchmarks/faults.py`, each once: nothing is lost or doubled, and one command continues."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KINDS = (
    "kill -9|(Ctrl-C|SIGTERM), search|SIGTERM twice, write_report|disk full|folder (read-only|removed|moved)|"
    "program (forks|prints 100 MB)|function catches Ctrl-C, twice|device raises RuntimeError|train: SIGKILL"
)
KINDS_WITH_WORKERS = (
    "kill -9 of (workers|all at once), SQLite|kill -9 of the run, PostgreSQL|database crashes, 1 to 3 s|"
    "network (resets connections|stalls for 1 to 10 s)|SIGTERM, workers, search|disk full, workers|"
    "connection to the device breaks, workers"
)


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found by /proc")
@pytest.mark.parametrize(("kinds", "count"), [(KINDS, 13), (KINDS_WITH_WORKERS, 9)], ids=["one process", "workers"])
def test_faults_lose_and_double_nothing_and_one_command_continues(kinds: str, count: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/faults.py", "--repetitions", "1", "--kinds", f"^({kinds})$"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 2 + count + 1
    assert done.stdout.splitlines()[-1].endswith("| 0 | 0 | 0 | 0 |")
