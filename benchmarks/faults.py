"""Faults while a search runs: nothing finished may be lost or recorded twice, and one command must continue.

    python benchmarks/faults.py [--repetitions 20] [--kinds kill] [--seed 0] [--output docs/research/DATE-faults.md]

Each repetition runs a search in a process of its own, lets a fault happen at a random time, ends the fault, and
resumes the search (`run --resume`, or the whole command if the run had not begun). It counts finished evaluations that
are lost or recorded twice, runs, trials and processes that do not end, and wrong exit codes, tracebacks and terminals.
Faults of the file system use mounts in a namespace of this process, and are skipped without the right to mount.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from fault_kinds import Fault, all_faults, own_mounts
from fault_runs import Verdict, judge_folder, judge_front, mnv2search_run, recorded_in
from fault_scenes import TRIALS, Scene

from mnv2search.results.records import Record

COLUMNS = ("repetitions", "hit", "lost", "doubled", "stuck", "wrong")


def repetition(fault: Fault, scene: Scene) -> Verdict:
    """Run a search, disturb it at least once, and resume it to its end."""
    verdict, hits = Verdict(), 0
    before: list[Record] = []
    fault.prepare(scene)
    for _ in range(scene.rng.randint(1, fault.most)):
        started = scene.start()
        is_hit = fault.strike(scene, started)
        ended = started.end()
        verdict.judge_end(ended, (0, *fault.codes) if is_hit else (0,))
        fault.mend(scene)
        hits += ended.code != 0
        before = judge_records(verdict, fault, scene, before, hits)
        if ended.code == 0:
            break
    verdict.hit = hits > 0 or 0 in fault.codes
    verdict.judge_end(scene.start().end(), (0,))
    verdict.stuck += [f"process {pid} is left" for pid in scene.processes_left()]
    try:
        judge_folder(verdict, scene.folder, [] if fault.removes else before, trials=TRIALS)
        judge_front(verdict, scene.folder)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the folder is counted
        verdict.wrong.append(f"{type(error).__name__}: {error}")
    return verdict


def judge_records(verdict: Verdict, fault: Fault, scene: Scene, before: Sequence[Record], hits: int) -> list[Record]:
    """The records after a fault, which must have all earlier ones and all finished answers of the evaluator."""
    now = recorded_in(scene.folder)
    if fault.removes:
        return now
    verdict.lost += [old.evaluation.name for old in before if old not in now]
    rated = sum(r.evaluation.accuracy is not None and not r.stage.startswith("final") for r in now)
    if scene.answers() > rated + hits:  # each fault may end a run between an answer and its record
        verdict.lost.append(f"{scene.answers()} answers, {rated} records, {hits} faults")
    return now


def disturbed(fault: Fault, repetitions: int, *, seed: int, whole_s: float) -> Counter[str]:
    """Repeat a fault; prints what is wrong."""
    counts = Counter[str]()
    for number in range(repetitions):
        with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as name:
            scene = Scene(Path(name), random.Random(f"{seed} {fault.name} {number}"), whole_s)
            verdict = repetition(fault, scene)
            if fault.needs_mounts:
                subprocess.run(["umount", "-q", str(scene.root / "results")], check=False)
        counts["repetitions"] += 1
        counts["hit"] += verdict.hit
        for column in COLUMNS[2:]:
            counts[column] += len(getattr(verdict, column))
        for line in verdict.faults:
            print(f"{fault.name}, repetition {number}: {line}", file=sys.stderr, flush=True)
    return counts


def undisturbed_s() -> float:
    """Seconds that a search takes without a fault; its imports are then shared by all later processes."""
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        scene = Scene(Path(name), random.Random(0))
        with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
            mnv2search_run(scene.root, *scene.words, "--quiet")()
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        begin = time.monotonic()
        ended = Scene(Path(name), random.Random(0)).start().end()
        if ended.code != 0:
            raise SystemExit(f"the search itself fails: {ended}")
    return time.monotonic() - begin


def main() -> int:
    """Print a table; returns 1 if anything is lost, doubled, stuck or wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=20, help="of each fault")
    parser.add_argument("--kinds", default="", help="only faults whose name contains this")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="also write the table to this Markdown file")
    options = parser.parse_args()
    torch.set_num_threads(1)  # other threads would not exist in forked children
    may_mount = own_mounts()
    whole_s = undisturbed_s()
    print(f"undisturbed: {whole_s:.1f} s", file=sys.stderr)
    total = Counter[str]()
    print(f"| fault | {' | '.join(COLUMNS)} |\n| --- |{' --- |' * len(COLUMNS)}")
    for fault in all_faults():
        if options.kinds not in fault.name:
            continue
        if fault.needs_mounts and not may_mount:
            print(f"| {fault.name} | skipped: no right to mount |", flush=True)
            continue
        counts = disturbed(fault, options.repetitions, seed=options.seed, whole_s=whole_s)
        total += counts
        print(f"| {fault.name} | {' | '.join(str(counts[one]) for one in COLUMNS)} |", flush=True)
    print(f"| total | {' | '.join(str(total[one]) for one in COLUMNS)} |")
    return 1 if sum(total[one] for one in COLUMNS[2:]) else 0


if __name__ == "__main__":
    sys.exit(main())
