"""Processes that can be disturbed while they run, and checks of what they leave behind.

A process is forked from one that has loaded all imports, which is much faster than starting a new one. It has its own
terminal, and reports the phase of the search through a pipe.
"""

from __future__ import annotations

import csv
import fcntl
import os
import pty
import select
import signal
import sys
import tempfile
import termios
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, NoReturn

import optuna
from optuna.storages import RDBStorage

from mnv2search.cli.main import main as command_line
from mnv2search.results.manifest import MANIFEST, read_manifest
from mnv2search.results.records import EVALUATIONS, Record, read_records
from mnv2search.study.storage.study_file import STUDY
from mnv2search.workflows.search.checks.verify import verify
from mnv2search.workflows.search.run import STUDY_FILE

NAME = "it"
# Time after which a process that has not ended counts as stuck, on a busy machine. Runs wait 45 s for a silent
# worker, and 120 s for a storage.
PATIENCE_S = 240.0
POLL_S = 0.05
# Texts in the output that reveal an unhandled error.
UNHANDLED = ("Traceback", "Exception ignored", "Fatal Python error")
SHOW, HIDE = b"\x1b[?25h", b"\x1b[?25l"


class Ended(NamedTuple):
    """How a process ended.

    Attributes:
        code: exit code, negative for a signal.
        said: output on stdout and stderr.
        terminal: damage to the terminal; empty if there is none.
        is_stuck: whether the process had to be killed.
    """

    code: int
    said: str
    terminal: str = ""
    is_stuck: bool = False


def in_child(work: Callable[[], object]) -> Ended:
    """Call a function in a forked process, and return its output."""
    with tempfile.TemporaryFile() as log:
        child = os.fork()
        if child == 0:
            work_and_exit(work, log.fileno())
        _, status = os.waitpid(child, 0)
        log.seek(0)
        return Ended(os.waitstatus_to_exitcode(status), log.read().decode(errors="replace"))


def work_and_exit(work: Callable[[], object], output: int) -> NoReturn:
    """Call a function with its output redirected, and exit with its code."""
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115
    code = 1
    try:
        work()
        code = 0
    except SystemExit as leave:
        code = leave.code if isinstance(leave.code, int) else int(leave.code is not None)
    except BaseException as error:  # noqa: BLE001 - reported by the parent
        os.write(2, f"Traceback: {type(error).__name__}: {error}\n".encode())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def mnv2search(root: Path, *words: str) -> Callable[[], object]:
    """A function that runs the command line with the cache below a folder."""

    def work() -> None:
        os.environ["MNV2SEARCH_CACHE"] = str(root / "cache")
        sys.argv = ["mnv2search", *words]
        command_line()

    return work


def mnv2search_run(root: Path, *words: str) -> Callable[[], object]:
    """A function that runs `mnv2search run` with results and cache below a folder."""
    return mnv2search(root, "run", *words, "--output-dir", str(root / "results"))


class Started:
    """A forked process with its own terminal, in which a function runs.

    With `run_module`, `wait_for` can wait for the phases that its function `run` reports, and for the calls of its
    functions `write_outputs` and `write_report`.
    """

    def __init__(self, work: Callable[[], object], *, run_module: ModuleType | None = None) -> None:
        self._master, self._slave = pty.openpty()
        self._before = termios.tcgetattr(self._slave)
        self._phases, writer = os.pipe()
        self.phases: list[str] = []
        self._said = bytearray()
        self._begin_s, self._end_s = time.monotonic(), 0.0
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            fcntl.ioctl(self._slave, termios.TIOCSCTTY, 0)
            os.dup2(self._slave, 0)
            os.environ["TERM"] = "xterm"
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if run_module is not None:
                _tell_phases(run_module, writer)
            work_and_exit(work, self._slave)
        os.close(writer)
        os.set_blocking(self._phases, False)
        self._ended = os.pidfd_open(self.pid)

    def wait(self, seconds: float) -> bool:
        """Wait for a time, or until the process ends; returns whether it still runs."""
        return self._watch(seconds, lambda: False)

    def wait_for(self, phase: str) -> bool:
        """Wait until a phase begins, or the process ends; returns whether the process still runs."""
        return self._watch(PATIENCE_S, lambda: phase in self.phases)

    def wait_for_file(self, path: Path) -> bool:
        """Wait until a file exists, or the process ends; returns whether the process still runs."""
        return self._watch(PATIENCE_S, path.exists)

    def send(self, number: signal.Signals) -> None:
        """Send a signal, or type Ctrl-C on the terminal for SIGINT."""
        if number == signal.SIGINT:
            os.write(self._master, b"\x03")
        else:
            signal.pidfd_send_signal(self._ended, number)

    @property
    def elapsed_s(self) -> float:
        """Seconds from the start to the end, or to now."""
        return (self._end_s or time.monotonic()) - self._begin_s

    def end(self, *, patience_s: float = PATIENCE_S) -> Ended:
        """Wait until the process ends, kill it if that takes too long, and check its terminal."""
        if is_stuck := self._watch(patience_s, lambda: False):
            signal.pidfd_send_signal(self._ended, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        self._end_s = time.monotonic()
        self._read()
        after, said = termios.tcgetattr(self._slave), bytes(self._said)
        for descriptor in (self._master, self._slave, self._phases, self._ended):
            os.close(descriptor)
        terminal = "cursor is hidden" if said.rfind(HIDE) > said.rfind(SHOW) else ""
        terminal = "its settings changed" if after != self._before else terminal
        return Ended(os.waitstatus_to_exitcode(status), said.decode(errors="replace"), terminal, is_stuck)

    def _watch(self, seconds: float, is_enough: Callable[[], bool]) -> bool:
        """Read what the process writes until `is_enough` or the time is up; returns False if the process ends."""
        deadline = time.monotonic() + seconds
        while not is_enough() and (left_s := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select([self._master, self._phases, self._ended], [], [], min(left_s, POLL_S))
            self._read()
            if self._ended in ready:
                return False
            if self._phases in ready and not self._read_phases():
                time.sleep(0.001)
        return True

    def _read(self) -> None:
        while select.select([self._master], [], [], 0)[0]:
            self._said += os.read(self._master, 1 << 16)

    def _read_phases(self) -> bool:
        told = os.read(self._phases, 1 << 12).decode()
        self.phases += told.split()
        return bool(told)


def _tell_phases(module: ModuleType, writer: int) -> None:
    """Write the name of each phase of a search to a pipe when it begins (call only in a forked process)."""
    last = ""

    def tell(phase: str) -> None:
        nonlocal last
        if phase != last:
            last = phase
            os.write(writer, f"{phase}\n".encode())

    run = module.run

    def told_run(*words: object, on_progress: Callable[[object], None], **options: object) -> object:
        def progressed(progress: object) -> None:
            tell(str(getattr(progress, "phase", "")))
            on_progress(progress)

        return run(*words, on_progress=progressed, **options)

    module.run = told_run  # type: ignore[attr-defined]
    for name in ("write_outputs", "write_report"):
        _tell_call(module, name, tell)


def _tell_call(module: ModuleType, name: str, tell: Callable[[str], None]) -> None:
    function = getattr(module, name)

    def told(*words: object, **options: object) -> object:
        tell(name)
        return function(*words, **options)

    setattr(module, name, told)


@dataclass
class Verdict:
    """The damage to a run: finished evaluations that are lost or recorded twice, and other errors, as texts.

    `hits` counts the faults that disturbed the run before it had ended.
    """

    hits: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """All damage, as lines of text."""
        lists = {"lost": self.lost, "doubled": self.doubled, "stuck": self.stuck, "wrong": self.wrong}
        return [f"{name}: {one}" for name, all_of_it in lists.items() for one in all_of_it]

    def judge_end(self, ended: Ended, codes: Sequence[int]) -> None:
        """Check the exit code, the output and the terminal of a process that ended."""
        end = ended.said[-1500:].strip()
        if ended.is_stuck:
            self.stuck.append(f"the process did not end: {end}")
        elif ended.code not in codes:
            self.wrong.append(f"exit code {ended.code}: {end}")
        for text in UNHANDLED:
            if text in ended.said:
                self.wrong.append(f"{text}: {end}")
        if ended.terminal and ended.code != -signal.SIGKILL:
            self.wrong.append(f"terminal: {ended.terminal}")


def recorded_in(folder: Path) -> list[Record]:
    """The complete records of a run in any state; empty if it has not begun."""
    if not (folder / EVALUATIONS).exists() or not (folder / MANIFEST).exists():
        return []
    return list(read_records(folder))


def judge_folder(verdict: Verdict, folder: Path, before: Sequence[Record], *, trials: int | None) -> None:
    """Check the folder of a finished run; `before` are the records that it had before its last start."""
    manifest, records = read_manifest(folder), read_records(folder)
    if manifest.status != "finished":
        verdict.stuck.append(f"the run is {manifest.status}")
    verdict.lost += [old.evaluation.name for old in before if old not in records]
    of_space = [record.evaluation.name for record in records if record.pick]
    of_grid = [r.evaluation.name for r in records if not r.pick and r.stage == "baseline"]
    verdict.doubled += [name for name, count in Counter((*of_space, *of_grid)).items() if count > 1]
    picks = Counter(record.pick for record in records if record.pick)
    verdict.doubled += [str(pick) for pick, count in picks.items() if count > 1]
    if trials is not None and len(of_space) != trials:
        verdict.wrong.append(f"{len(of_space)} trials of {trials}")
    storage = RDBStorage(f"sqlite:///{folder / STUDY_FILE}")
    stored = optuna.load_study(study_name=STUDY, storage=storage).get_trials(deepcopy=False)
    storage.remove_session()
    storage.engine.dispose()  # otherwise a mount cannot be removed
    verdict.stuck += [
        f"trial {trial.number} is {trial.state.name}" for trial in stored if not trial.state.is_finished()
    ]
    if (names := [trial.user_attrs["name"] for trial in stored]) != of_space:
        verdict.wrong.append(f"the study has {names}, the records {of_space}")
    rows = {row["name"] for row in csv.DictReader((folder / "front.csv").read_text().splitlines())}
    if rows != (files := {path.stem for path in (folder / "front").glob("*.yaml")}):
        verdict.wrong.append(f"front.csv has {rows}, front {files}")
    left = [path.name for path in folder.rglob("*") if ".part" in path.name or path.name.endswith("-journal")]
    verdict.wrong += [f"temporary file {name}" for name in left]


def judge_front(verdict: Verdict, folder: Path, plugins: Path) -> None:
    """Check in a separate process that the front of a run verifies; the device is exact, and may be a plug-in."""

    def check() -> None:
        sys.path.insert(0, str(plugins))
        if not all(check.holds for check in verify(folder)):
            sys.exit("the front does not verify")

    ended = in_child(check)
    if ended.code != 0:
        verdict.wrong.append(f"verify ends with {ended.code}: {ended.said}")
