"""Faults while a search runs: no finished work may be lost or recorded twice, and one command must resume the search.

    python benchmarks/faults.py [--repetitions 20] [--kinds kill] [--seed 0] [--log FILE] [--output FILE]

Each repetition runs a search in a separate process, causes a fault at a random time, ends the fault, and resumes the
search (`run --resume`, or the whole command if the run had not begun). The table counts finished evaluations that are
lost or recorded twice; runs, trials and processes that do not end; and wrong exit codes, tracebacks and damaged
terminals. Searches with workers have one to eight of them, and share an SQLite file or a PostgreSQL server that this
benchmark starts. The weights of a resumed training must equal those of an undisturbed training, to the bit. Faults
that need mounts use a mount namespace of this process, and are skipped without the right to mount. With `--log`,
repetitions that are in the file are not repeated, so that the benchmark continues where it stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from fault_kinds import Fault, all_faults, own_mounts
from fault_processes import adopt_orphans, wait_for_children
from fault_runs import UNHANDLED, Verdict, judge_folder, judge_front, mnv2search_run, recorded_in
from fault_scenes import FAKETIME, Scene
from fault_trainings import TRAININGS, disturbed_training
from fault_workers import judge_storage, own_processes, worker_faults
from postgresql_server import postgresql_programs

from mnv2search.results.manifest import MANIFEST
from mnv2search.results.records import Record

COLUMNS = ("repetitions", "hits", "lost", "doubled", "stuck", "wrong")
# A worker leaves at once when the run ends, or 45 s after the run was killed.
LEAVE_S = 60.0


def repetition(fault: Fault, scene: Scene) -> Verdict:
    """Run a search, disturb it at least once, and resume it until it ends."""
    verdict, ends = Verdict(), 0
    before: list[Record] = []
    fault.prepare(scene)
    for _ in range(scene.rng.randint(1, fault.most)):
        started = scene.start()
        hits = fault.strike(scene, started)
        ended = started.end()
        verdict.judge_end(ended, (0, *fault.codes) if hits else (0,))
        fault.mend(scene)
        verdict.hits += hits if ended.code != 0 or 0 in fault.codes else 0
        ends += ended.code != 0
        before = judge_records(verdict, fault, scene, before, ends)
        if ended.code == 0:
            break
    if scene.folder.exists() and not (scene.folder / MANIFEST).exists():
        verdict.wrong.append(f"files without a run: {[path.name for path in scene.folder.iterdir()]}")
    verdict.judge_end(scene.start().end(), (0,))
    judge_processes(verdict, scene)
    try:
        judge_folder(verdict, scene.folder, [] if fault.removes else before, trials=scene.trials)
        judge_front(verdict, scene.folder, scene.plugins)
        if scene.workers is not None:
            judge_storage(verdict, scene, recorded_in(scene.folder), repeats=fault.repeats)
    except Exception as error:  # noqa: BLE001 - every error in the folder is counted
        verdict.wrong.append(f"{type(error).__name__}: {error}")
    return verdict


def judge_records(verdict: Verdict, fault: Fault, scene: Scene, before: Sequence[Record], ends: int) -> list[Record]:
    """The records after a fault; missing earlier records and finished evaluations are added to the verdict."""
    now = recorded_in(scene.folder)
    if fault.removes:
        return now
    verdict.lost += [old.evaluation.name for old in before if old not in now]
    rated = sum(r.evaluation.accuracy is not None and not r.stage.startswith("final") for r in now)
    # each fault may end a run between an answer and its record; answers of workers are kept in their storage
    if not scene.evaluator and scene.workers is None and scene.answers() > rated + ends:
        verdict.lost.append(f"{scene.answers()} answers, {rated} records, {ends} faults")
    return now


def judge_processes(verdict: Verdict, scene: Scene) -> None:
    """Check that no process of a search is left, and what workers wrote."""
    patience_s = LEAVE_S if scene.workers is not None else 0.0
    left = wait_for_children(own_processes(), patience_s=patience_s)
    verdict.stuck += [f"process {pid} is still running" for pid in {*left, *scene.processes_left()}]
    for path in scene.root.glob("worker-*.log"):
        said = path.read_text(errors="replace")
        verdict.wrong += [f"{text} of a worker: {said[-1500:]}" for text in UNHANDLED if text in said]


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
    may_mount, has_server = own_mounts(), postgresql_programs() is not None
    for fault in (*all_faults(), *worker_faults()):
        if fault.needs_mounts and not may_mount:
            yield fault.name, "no right to mount"
        elif fault.needs_faketime and not Path(FAKETIME).exists():
            yield fault.name, "libfaketime is not installed"
        elif fault.needs_server and not has_server:
            yield fault.name, "PostgreSQL is not installed"
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
    log: Path | None
    output: Path | None


class Log:
    """Verdicts of repetitions by fault and number, in a file of JSON lines, or only in memory."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._verdicts: dict[tuple[str, int], Verdict] = {}
        if path is not None and path.exists():
            for line in path.read_text().splitlines():
                entry = json.loads(line)
                key = entry.pop("fault"), entry.pop("repetition")
                self._verdicts[key] = Verdict(**entry)

    def __contains__(self, key: tuple[str, int]) -> bool:
        return key in self._verdicts

    def add(self, fault: str, number: int, verdict: Verdict) -> None:
        """Keep a verdict, and print what is wrong."""
        self._verdicts[fault, number] = verdict
        for line in verdict.faults:
            print(f"{fault}, repetition {number}: {line}", file=sys.stderr, flush=True)
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps({"fault": fault, "repetition": number, **asdict(verdict)}) + "\n")

    def counts(self, fault: str) -> Counter[str]:
        """The numbers in the row of a fault."""
        counts = Counter[str]()
        for (name, _), verdict in self._verdicts.items():
            if name == fault:
                counts += Counter(repetitions=1, hits=verdict.hits)
                counts += Counter({column: len(getattr(verdict, column)) for column in COLUMNS[2:]})
        return counts


def table(options: Options) -> Iterator[str]:
    """Yield the lines of a table, each as soon as it is known."""
    log, total, whole_s = Log(options.log), Counter[str](), undisturbed_s()
    yield f"| fault | {' | '.join(COLUMNS)} |"
    yield f"| --- |{' ---: |' * len(COLUMNS)}"
    for name, once in trials_of(whole_s):
        if not re.search(options.kinds, name):
            continue
        if isinstance(once, str):
            yield f"| {name} | skipped: {once} |{' |' * (len(COLUMNS) - 1)}"
            continue
        for number in range(options.repetitions):
            if (name, number) not in log:
                with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as root:
                    log.add(name, number, once(Path(root), random.Random(f"{options.seed} {name} {number}")))
        counts = log.counts(name)
        total += counts
        yield f"| {name} | {' | '.join(str(counts[one]) for one in COLUMNS)} |"
    yield f"| total | {' | '.join(str(total[one]) for one in COLUMNS)} |"


def main() -> int:
    """Print a table; returns 1 if anything is lost, doubled, stuck or wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=20, help="repetitions of each fault")
    parser.add_argument("--kinds", default="", help="only faults whose name matches this regular expression")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path, help="file of finished repetitions, which are not repeated")
    parser.add_argument("--output", type=Path, help="also write the table to this Markdown file")
    options = Options(**vars(parser.parse_args()))
    torch.set_num_threads(1)  # forked children do not have the other threads
    adopt_orphans()
    lines = []
    for line in table(options):
        print(line, flush=True)
        lines.append(line)
    if options.output is not None:
        options.output.write_text("\n".join(lines) + "\n")
    return 0 if lines[-1].endswith("| 0 | 0 | 0 | 0 |") else 1


if __name__ == "__main__":
    sys.exit(main())
