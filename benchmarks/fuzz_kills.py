"""Fuzzer for interrupted runs: kills `run` and `run --force` before the n-th file operation, then resumes.

    python benchmarks/fuzz_kills.py [--kills 200] [--seed 0]

Each run is a separate process, killed by SIGKILL before a file is opened for writing, renamed, removed or flushed, a
folder is created or removed, or a statement is sent to SQLite. The same command must then end with a valid folder:
the front has as many files as rows, the study agrees with the records, there are no temporary files, and the front
verifies. After `run --force`, either the old run must be intact or the new one begun, and `--resume` must work too.
The device is `simulated`.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import os
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy
import torch
from fault_runs import NAME, Ended, Verdict, in_child, judge_folder, judge_front, mnv2search_run

from mnv2search.results.manifest import read_manifest
from mnv2search.results.records import read_records

TRIALS = 13
OLD_MS, NEW_MS = 6.0, 5.0
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# The first and the last operations, which create and finish a run, are all tested.
EDGE_SHARE = 0.3


def count_changes(happens: Callable[[str], None]) -> None:
    """From now on, call `happens` before every file operation of this process."""

    def audit(event: str, args: tuple[Any, ...]) -> None:
        if event in CHANGES:
            happens(f"{event} {args[0]}")
        elif event == "open" and args[0] != os.devnull and args[2] is not None and args[2] & WRITING:
            happens(f"open {args[0]}")

    sys.addaudithook(audit)
    flush = os.fsync

    def fsync(descriptor: int) -> None:
        happens("fsync")
        flush(descriptor)

    os.fsync = fsync  # type: ignore[assignment]

    def statement(*args: Any) -> None:
        happens(f"SQL {args[2].split()[0]}")

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", statement)
    sqlalchemy.event.listen(sqlalchemy.Engine, "commit", lambda _: happens("SQL COMMIT"))


def killed(work: Callable[[], object], *, before: int) -> Ended:
    """Call a function in a child process that is killed before its n-th file operation."""
    seen = Counter[str]()

    def happens(_: str) -> None:
        seen["changes"] += 1
        if seen["changes"] == before:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched() -> None:
        count_changes(happens)
        work()

    return in_child(watched)


def changes_of(work: Callable[[], object]) -> int:
    """Number of file operations that a function makes."""
    reading, writing = os.pipe()

    def watched() -> None:
        count = 0

        def happens(_: str) -> None:
            nonlocal count
            count += 1

        count_changes(happens)
        try:
            work()
        finally:
            os.write(writing, str(count).encode())

    ended = in_child(watched)
    os.close(writing)
    with os.fdopen(reading) as file:
        count = int(file.read())
    if ended.code != 0:
        raise SystemExit(f"the run itself fails: {ended}")
    return count


def check_sound(folder: Path, *, budget_ms: float) -> None:
    """Raise AssertionError if the folder of a finished run is not valid."""
    assert read_manifest(folder).budget.latency_ms == budget_ms, read_manifest(folder).budget
    assert {record.evaluation.budget.latency_ms for record in read_records(folder)} == {budget_ms}
    verdict = Verdict()
    judge_folder(verdict, folder, (), trials=TRIALS)
    judge_front(verdict, folder, folder)
    assert not verdict.faults, verdict.faults


def digest_of(folder: Path) -> dict[str, str]:
    """A digest of every file of a folder, except locks and temporary files."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def ends_well(root: Path, *words: str, budget_ms: float) -> str:
    """The fault after a command; empty if it ends with a valid folder."""
    ended = in_child(mnv2search_run(root, *words))
    if ended.code != 0:
        return f"exit code {ended.code}: {ended.said.strip()}"
    checked = in_child(lambda: check_sound(root / "results" / NAME, budget_ms=budget_ms))
    return "" if checked.code == 0 else checked.said.strip()


def command_of(latency_ms: float) -> list[str]:
    words = ["--latency-ms", f"{latency_ms:g}", "--trials", str(TRIALS), "--space", "mnv2-multipliers"]
    return [*words, "--device", "simulated", "--name", NAME]


def fuzz_run(kills: Sequence[int], scratch: Path) -> Counter[str]:
    """Kill a new run before each of these operations, and run the same command again."""
    counts = Counter[str]()
    for before in kills:
        root = scratch / "root"
        ended = killed(mnv2search_run(root, *command_of(NEW_MS)), before=before)
        counts["killed" if ended.code == -signal.SIGKILL else "ended before"] += 1
        fault = ends_well(root, *command_of(NEW_MS), budget_ms=NEW_MS)
        report(counts, "run", before, fault)
        shutil.rmtree(root)
    return counts


def fuzz_force(kills: Sequence[int], scratch: Path, old: Path) -> Counter[str]:
    """Kill `run --force` on a finished run before each of these operations; then the same command and `--resume`."""
    counts, whole = Counter[str](), digest_of(old / "results" / NAME)
    for before in kills:
        root = scratch / "root"
        shutil.copytree(old, root)
        ended = killed(mnv2search_run(root, *command_of(NEW_MS), "--force"), before=before)
        counts["killed" if ended.code == -signal.SIGKILL else "ended before"] += 1
        is_old = read_manifest(root / "results" / NAME).budget.latency_ms == OLD_MS
        counts["old run whole" if is_old else "new run begun"] += 1
        fault = "old run is not whole" if is_old and digest_of(root / "results" / NAME) != whole else ""
        twin = shutil.copytree(root, scratch / "twin")
        fault = fault or ends_well(twin, "--resume", NAME, budget_ms=OLD_MS if is_old else NEW_MS)
        fault = fault or ends_well(root, *command_of(NEW_MS), "--force", budget_ms=NEW_MS)
        report(counts, "run --force", before, fault)
        shutil.rmtree(root)
        shutil.rmtree(twin)
    return counts


def report(counts: Counter[str], what: str, before: int, fault: str) -> None:
    if fault:
        counts["unusable"] += 1
        print(f"{what}, killed before change {before}: {fault}", flush=True)


def chosen(changes: int, kills: int, *, seed: int) -> list[int]:
    """Numbers of the operations to kill before: all if there are few, otherwise denser at both ends."""
    if kills >= changes:
        return list(range(1, changes + 1))
    edge = max(1, int(EDGE_SHARE * kills))
    ends = {*range(1, edge + 1), *range(changes - edge + 1, changes + 1)}
    between = [number for number in range(1, changes + 1) if number not in ends]
    return sorted({*ends, *random.Random(seed).sample(between, max(0, kills - len(ends)))})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="for each of the two commands")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)  # other threads would not exist in forked children
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        counting, old = scratch / "counting", scratch / "old"
        with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
            mnv2search_run(
                old, *command_of(OLD_MS)
            )()  # in the parent, so that its imports are shared by all children
        check_sound(old / "results" / NAME, budget_ms=OLD_MS)
        changes = changes_of(mnv2search_run(counting, *command_of(NEW_MS)))
        twin = shutil.copytree(old, scratch / "forced")
        forced = changes_of(mnv2search_run(twin, *command_of(NEW_MS), "--force"))
        print("| command | changes of files | kills | old run whole | new run begun | unusable |")
        print("| --- | --- | --- | --- | --- | --- |")
        new = fuzz_run(chosen(changes, options.kills, seed=options.seed), scratch)
        print(f"| run | {changes} | {new['killed']} |  |  | {new['unusable']} |", flush=True)
        over = fuzz_force(chosen(forced, options.kills, seed=options.seed), scratch, old)
        found = [forced, over["killed"], over["old run whole"], over["new run begun"], over["unusable"]]
        print(f"| run --force | {' | '.join(map(str, found))} |")
    return 1 if new["unusable"] + over["unusable"] else 0


if __name__ == "__main__":
    sys.exit(main())
