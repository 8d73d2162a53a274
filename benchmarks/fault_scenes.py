"""The scene of a fault: a folder with an evaluator, a device and a search."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from random import Random

from fault_processes import ForkedProcess, ForkingSubprocess
from fault_runs import NAME, Started, mnv2search_run
from fuzz_evaluators import running_in

from mnv2search.results.manifest import MANIFEST
from mnv2search.workflows.search import request as request_module
from mnv2search.workflows.search import run as run_module
from mnv2search.workflows.search import workers as workers_module
from mnv2search.workflows.search.folder import OWN_STORAGE

TRIALS = 13
COMMAND = ("--latency-ms", "5", "--trials", str(TRIALS), "--space", "mnv2-multipliers")
PHASES = ("baseline", "calibration", "search", "final", "write_outputs", "write_report")
# A run with workers reports no calibration. Workers live only in the search, which therefore comes up more often.
PHASES_WITH_WORKERS = ("baseline", "search", "search", "search", "final", "write_outputs", "write_report")
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
# Called for each network; a file contains the faulty behaviour, so that removing the file ends the fault.
FUNCTION = """
import select, sys, time, zlib
from pathlib import Path
HERE = Path(__file__).parent
def accuracy(spec, seed):
    (HERE / "called").touch()
    if (HERE / "behaviour").exists() and len((HERE / "calls").read_text()) >= int((HERE / "after").read_text()):
        exec((HERE / "behaviour").read_text())
    select.select([], [], [], float((HERE / "seconds").read_text()))  # the fake clock breaks time.sleep
    value = 0.5 + zlib.crc32(repr((spec.blocks, spec.width, spec.resolution)).encode()) / 2**34
    with (HERE / "calls").open("a") as file:
        file.write(".")
    return value
"""
# The same as a program; it prints no traceback, because that would be counted as a traceback of the search.
PROGRAM = """
import os, resource, signal, subprocess, sys, time, zlib
from pathlib import Path
HERE, SPEC = Path(__file__).parent, Path(sys.argv[-1]).read_text()
sys.excepthook = lambda *_: None
def answer():
    print(0.5 + zlib.crc32(SPEC.split("\\n", 2)[-1].encode()) / 2**34, flush=True)
    with (HERE / "calls").open("a") as file:
        file.write(".")
if (HERE / "behaviour").exists() and len((HERE / "calls").read_text()) >= int((HERE / "after").read_text()):
    exec((HERE / "behaviour").read_text())
answer()
"""
# Replaces time.sleep, which fails under libfaketime after the clock was set, in every process of the search.
SLEEP = """
import select, time
time.sleep = lambda seconds: select.select([], [], [], seconds) and None
"""
# A device that fails while a file exists, and a machine to which the connection is broken while it exists.
DEVICE = """
import json, time
from pathlib import Path
from mnv2search.errors import DeviceError
from mnv2search.latency.hosts.types import HostLostError
from mnv2search.latency.runtimes.simulated import SimulatedDevice
GONE = Path(__file__).parent.parent / "gone"
class Vanishing(SimulatedDevice):
    def prepare(self, spec):
        run = super().prepare(spec)
        def vanishing():
            if GONE.exists():
                exec(GONE.read_text())
            time.sleep(0.0001)
            run()
        return vanishing
HELLO = {"processor": "CPU", "machine": "board", "system": "Linux", "cores": 4, "governor": "", "temperature_c": None,
         "version": "1", "pinned": ""}
class Board:
    name = "board://one"
    def __init__(self, address):
        self.sizes = {}
    def check(self):
        if GONE.exists():
            raise HostLostError("the connection broke")
    def connect(self):
        self.check()
    def push(self, files):
        self.check()
        for name, content in files.items():
            self.sizes[name.partition("/")[0]] = len(content)
    def start(self, command):
        self.check()
        return self
    def send(self, line):
        self.check()
        question = json.loads(line)
        self.answer = HELLO if question["do"] == "hello" else {"error": "this machine only times bursts"}
        if question["do"] == "bursts":
            ns = [(b["min_runs"], self.sizes[b["artifact"]] // 4) for b in question["bursts"]]
            self.answer = {"runs": [[[one, one]] * runs for runs, one in ns], "temperature_c": None}
    def receive(self, *, timeout_s):
        self.check()
        return json.dumps(self.answer)
    def complaint(self):
        return ""
    def close(self):
        pass
"""
ENTRY_POINT = """
[mnv2search.devices]
vanishing = vanishing:Vanishing
[mnv2search.hosts]
board = vanishing:Board
"""


@dataclass
class Scene:
    """A folder in which one search is disturbed.

    Attributes:
        root: the folder; it contains the run's folder, `results/it`.
        rng: random numbers of this repetition.
        whole_s: duration of an undisturbed search.
        evaluator: value of `--accuracy`; empty for `function.py`.
        device: value of `--device`.
        command: other words of the command line.
        trials: number of trials; None if the command limits the time instead.
        workers: number of worker processes of the run; None if the run evaluates networks itself.
        storage: URL of the storage of workers; empty for a file in the run's folder.
        clock: file with the offset of the clock in s, if the search runs in a new process with `libfaketime`.
    """

    root: Path
    rng: Random
    whole_s: float = 1.0
    evaluator: str = ""
    device: str = "simulated"
    name: str = NAME
    command: tuple[str, ...] = COMMAND
    trials: int | None = TRIALS
    workers: int | None = None
    storage: str = ""
    clock: Path | None = None

    def __post_init__(self) -> None:
        files = {"function.py": FUNCTION, "program.py": PROGRAM, "plugin/vanishing.py": DEVICE}
        for name, content in {**files, "sleep/sitecustomize.py": SLEEP}.items():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_text(content)
        plugin = self.plugins / "vanishing-1.dist-info"
        plugin.mkdir()
        (plugin / "entry_points.txt").write_text(ENTRY_POINT)
        (plugin / "METADATA").write_text("Metadata-Version: 2.1\nName: vanishing\nVersion: 1\n")
        (self.root / "calls").touch()
        self.evaluate_in(0.002)
        os.environ["MNV2SEARCH_CACHE"] = str(self.root / "cache")

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return self.root / "results" / self.name

    @property
    def plugins(self) -> Path:
        """The folder of plug-ins."""
        return self.root / "plugin"

    @property
    def program(self) -> str:
        """The evaluator that runs `program.py`."""
        return f"command:timeout_s=2,{sys.executable} -S {self.root / 'program.py'} {{spec}}"

    @property
    def words(self) -> tuple[str, ...]:
        """The arguments of `mnv2search run`: to resume the run if it exists, or else to start it."""
        workers = () if self.workers is None else ("--workers", str(self.workers))
        always = ("--no-confirm", *workers, *(("--storage", self.storage) if self.storage else ()))
        if (self.folder / MANIFEST).exists():
            return ("--resume", self.name, *always)
        evaluator = self.evaluator or f"python:{self.root / 'function.py'}:accuracy"
        return (*self.command, "--device", self.device, "--accuracy", evaluator, "--name", self.name, *always)

    @property
    def shared(self) -> str:
        """The file or URL of the storage of workers."""
        return self.storage or str(self.folder / OWN_STORAGE)

    def start(self) -> Started:
        """Start or resume the search in a separate process."""
        work = mnv2search_run(self.root, *self.words)

        def set_up_and_work() -> None:
            sys.path.insert(0, str(self.plugins))
            request_module.LEAST_S_TO_SHARE = 0.0  # so that even a short search ends with trainings
            ForkedProcess.fork(self.workers or 0)
            vars(workers_module)["subprocess"] = ForkingSubprocess
            work()

        if self.clock is not None:
            return Started(lambda: self._execute(self.clock))
        return Started(set_up_and_work, run_module=run_module)

    def _execute(self, clock: Path | None) -> None:
        words = ("run", *self.words, "--output-dir", str(self.root / "results"))
        fake = {"LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_CACHE_DURATION": "1"}
        path = f"{self.root / 'sleep'}:{os.environ.get('PYTHONPATH', '')}".rstrip(":")
        environment = {**os.environ, **fake, "FAKETIME_DONT_FAKE_MONOTONIC": "1", "PYTHONPATH": path}
        os.execve(sys.executable, [sys.executable, "-m", "mnv2search", *words], environment)

    def wait_for_moment(self, started: Started) -> bool:
        """Wait until a random time after the start or after a random phase began; returns whether the search runs."""
        phase = self.rng.choice(("", *PHASES) if self.workers is None else ("", *PHASES_WITH_WORKERS))
        return (not phase or started.wait_for(phase)) and self.wait_a_moment(started)

    def wait_a_moment(self, started: Started) -> bool:
        """Wait for a random time, more often a short one; returns whether the search still runs."""
        return started.wait(self.whole_s / len(PHASES) * self.rng.random() ** 2)

    def evaluate_in(self, seconds: float) -> None:
        """Set the duration of an evaluation by `function.py`."""
        (self.root / "seconds").write_text(str(seconds))

    def misbehave(self, behaviour: str, *, after: int) -> None:
        """Let the evaluator execute `behaviour` in each call after the first `after` calls, until `behave`."""
        (self.root / "after").write_text(str(after))
        (self.root / "behaviour").write_text(behaviour)

    def behave(self) -> None:
        """End the effect of `misbehave`."""
        (self.root / "behaviour").unlink(missing_ok=True)

    def answers(self) -> int:
        """Number of answers of the evaluator so far."""
        return len((self.root / "calls").read_text())

    def processes_left(self) -> list[int]:
        """PIDs of processes with the scene's folder in their command line."""
        return running_in(self.root)
