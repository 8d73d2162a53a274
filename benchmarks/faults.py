"""Faults while a search runs: no finished work may be lost or recorded twice, and one command must resume the search.

    python benchmarks/faults.py [--repetitions 20] [--kinds kill] [--seed 0] [--output FILE]

Each repetition runs a search in a separate process, causes a fault at a random time, ends the fault, and resumes the
search (`run --resume`, or the whole command if the run had not begun). The table counts finished evaluations that are
lost or recorded twice; runs, trials and processes that do not end; and wrong exit codes, tracebacks and damaged
terminals. The weights of a resumed training must equal those of an undisturbed training, to the bit. Faults that need
mounts use a mount namespace of this process, and are skipped without the right to mount.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from fault_kinds import Fault, all_faults, own_mounts
from fault_runs import Verdict, judge_folder, judge_front, mnv2search_run, recorded_in
from fault_scenes import FAKETIME, Scene
from fault_trainings import TRAININGS, disturbed_training

from mnv2search.results.manifest import MANIFEST
from mnv2search.results.records import Record

COLUMNS = ("repetitions", "hit", "lost", "doubled", "stuck", "wrong")


def repetition(fault: Fault, scene: Scene) -> Verdict:
    """Run a search, disturb it at least once, and resume it until it ends."""
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
    if scene.folder.exists() and not (scene.folder / MANIFEST).exists():
        verdict.wrong.append(f"files without a run: {[path.name for path in scene.folder.iterdir()]}")
    verdict.hit = hits > 0 or 0 in fault.codes
    verdict.judge_end(scene.start().end(), (0,))
    verdict.stuck += [f"process {pid} is still running" for pid in scene.processes_left()]
    try:
        judge_folder(verdict, scene.folder, [] if fault.removes else before, trials=scene.trials)
        judge_front(verdict, scene.folder)
    except Exception as error:  # noqa: BLE001 - every error in the folder is counted
        verdict.wrong.append(f"{type(error).__name__}: {error}")
    return verdict


def judge_records(verdict: Verdict, fault: Fault, scene: Scene, before: Sequence[Record], hits: int) -> list[Record]:
    """The records after a fault; missing earlier records and finished evaluations are added to the verdict."""
    now = recorded_in(scene.folder)
    if fault.removes:
        return now
    verdict.lost += [old.evaluation.name for old in before if old not in now]
    rated = sum(r.evaluation.accuracy is not None and not r.stage.startswith("final") for r in now)
    # each fault may end a run between an answer and its record
    if not scene.evaluator and scene.answers() > rated + hits:
        verdict.lost.append(f"{scene.answers()} answers, {rated} records, {hits} faults")
    return now


def repeated(once: Callable[[Path, random.Random], Verdict], name: str, options: Options) -> Counter[str]:
    """Repeat a fault, each time in a separate folder; prints what is wrong."""
    counts = Counter[str]()
    for number in range(options.repetitions):
        with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as root:
            verdict = once(Path(root), random.Random(f"{options.seed} {name} {number}"))
        counts["repetitions"] += 1
        counts["hit"] += verdict.hit
        for column in COLUMNS[2:]:
            counts[column] += len(getattr(verdict, column))
        for line in verdict.faults:
            print(f"{name}, repetition {number}: {line}", file=sys.stderr, flush=True)
    return counts


def disturbed_search(fault: Fault, root: Path, rng: random.Random, *, whole_s: float) -> Verdict:
    """Run one repetition of a fault in a folder, and unmount file systems from the folder at the end."""
    scene = Scene(root, rng, whole_s)
    try:
        return repetition(fault, scene)
    finally:
        if fault.needs_mounts:
            subprocess.run(["umount", "-q", str(scene.root / "results")], check=False)


def undisturbed_s() -> float:
    """Duration of a search without a fault; also loads the imports that all later processes share."""
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


def trials_of(whole_s: float) -> Iterator[tuple[str, Callable[[Path, random.Random], Verdict] | str]]:
    """Yield every fault by name, with a function that runs one repetition, or with the reason to skip it."""
    may_mount = own_mounts()
    for fault in all_faults():
        if fault.needs_mounts and not may_mount:
            yield fault.name, "no right to mount"
        elif fault.needs_faketime and not Path(FAKETIME).exists():
            yield fault.name, "libfaketime is not installed"
        else:
            yield fault.name, partial(disturbed_search, fault, whole_s=whole_s)
    for training in TRAININGS:
        for number in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
            yield f"{training.name}: {number.name}", partial(disturbed_training, training, number)


@dataclass(frozen=True)
class Options:
    """Options of the command line."""

    repetitions: int
    kinds: str
    seed: int
    output: Path | None


def table(options: Options) -> Iterator[str]:
    """Yield the lines of a table, each as soon as it is known."""
    total = Counter[str]()
    whole_s = undisturbed_s()
    yield f"| fault | {' | '.join(COLUMNS)} |"
    yield f"| --- |{' --- |' * len(COLUMNS)}"
    for name, once in trials_of(whole_s):
        if not re.search(options.kinds, name):
            continue
        if isinstance(once, str):
            yield f"| {name} | skipped: {once} |{' |' * (len(COLUMNS) - 1)}"
            continue
        counts = repeated(once, name, options)
        total += counts
        yield f"| {name} | {' | '.join(str(counts[one]) for one in COLUMNS)} |"
    yield f"| total | {' | '.join(str(total[one]) for one in COLUMNS)} |"


def main() -> int:
    """Print a table; returns 1 if anything is lost, doubled, stuck or wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=20, help="repetitions of each fault")
    parser.add_argument("--kinds", default="", help="only faults whose name matches this regular expression")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="also write the table to this Markdown file")
    options = Options(**vars(parser.parse_args()))
    torch.set_num_threads(1)  # forked children do not have the other threads
    lines = []
    for line in table(options):
        print(line, flush=True)
        lines.append(line)
    if options.output is not None:
        options.output.write_text("\n".join(lines) + "\n")
    return 0 if lines[-1].endswith("| 0 | 0 | 0 | 0 |") else 1


if __name__ == "__main__":
    sys.exit(main())
