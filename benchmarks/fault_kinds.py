"""The kinds of faults: how each disturbs a running search, and how it is ended."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fault_runs import Started
from fault_scenes import PHASES, Scene
from fault_trainings import write_inputs

from mnv2search.errors import StoppedError

INTERRUPTED = StoppedError.exit_code
# Source: Linux, include/uapi/linux/sched.h.
CLONE_NEWNS = 0x00020000


def nothing(_: Scene) -> None:
    """Do nothing: the fault needs no preparation, or ends by itself."""


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes:
        strike: waits for a moment and causes the fault; returns whether the search was still running, or how often
            it was disturbed.
        codes: expected exit codes of the search; 0 is accepted too, and required if the search ended first.
        most: how many times a search is disturbed at most; it is resumed after each time.
        prepare: prepares the scene before the search starts.
        mend: ends the fault.
        removes: whether the fault removes results, which then do not count as lost.
        needs_mounts: whether the fault mounts file systems.
        needs_faketime: whether the fault needs `libfaketime`.
        needs_server: whether the fault needs PostgreSQL.
        repeats: whether a network may be evaluated twice, because a connection is lost after a change in the storage.
    """

    name: str
    strike: Callable[[Scene, Started], int]
    codes: tuple[int, ...]
    most: int = 1
    prepare: Callable[[Scene], None] = nothing
    mend: Callable[[Scene], None] = nothing
    removes: bool = False
    needs_mounts: bool = False
    needs_faketime: bool = False
    needs_server: bool = False
    repeats: bool = False


# -- signals ---------------------------------------------------------------------------------------------------------


def kill(scene: Scene, started: Started) -> bool:
    """Send SIGKILL at a random time."""
    is_running = scene.wait_for_moment(started)
    started.send(signal.SIGKILL)
    return is_running


def in_phase(number: signal.Signals, phase: str, *, twice: bool = False) -> Callable[[Scene, Started], bool]:
    """A function that sends a signal at a random time after a phase begins; a second one follows within 10 ms."""

    def strike(scene: Scene, started: Started) -> bool:
        is_running = started.wait_for(phase) and scene.wait_a_moment(started)
        started.send(number)
        if twice:
            is_running = is_running and started.wait(scene.rng.uniform(0, 0.01))
            started.send(number)
        return is_running

    return strike


def signals() -> Iterator[Fault]:
    yield Fault("kill -9", kill, (-signal.SIGKILL,), most=4)
    for phase in PHASES:
        for number, name in ((signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")):
            yield Fault(f"{name}, {phase}", in_phase(number, phase), (INTERRUPTED,), most=2)
            twice = in_phase(number, phase, twice=True)
            yield Fault(f"{name} twice, {phase}", twice, (INTERRUPTED, -number), most=2)


# -- files -----------------------------------------------------------------------------------------------------------


def mount(*words: str | Path) -> None:
    """Run `mount`."""
    subprocess.run(["mount", *map(str, words)], check=True)


def small_disk(scene: Scene) -> None:
    """Put the results on a disk that is too small for them."""
    (scene.root / "results").mkdir()
    size = scene.rng.randint(16, 600)
    mount("-t", "tmpfs", "-o", f"size={size}k", "tmpfs", scene.root / "results")


def free_space(scene: Scene) -> None:
    """Enlarge the disk."""
    mount("-o", "remount,size=64m", scene.root / "results")


def let_it_run(_: Scene, started: Started) -> bool:
    """Wait for the end of the search."""
    started.wait(3600)
    return True


def make_read_only(scene: Scene, started: Started) -> bool:
    """Mount the results over themselves, read-only."""
    is_running = scene.wait_for_moment(started)
    results = scene.root / "results"
    results.mkdir(exist_ok=True)
    mount("--bind", "-o", "ro", results, results)
    return is_running


def make_writable(scene: Scene) -> None:
    """Remove the read-only mount."""
    subprocess.run(["umount", str(scene.root / "results")], check=True)


def remove_folder(scene: Scene, started: Started) -> bool:
    """Remove the run's folder; if the search writes to it meanwhile, remove it again, as a user would."""
    is_running = scene.wait_for_moment(started)
    is_there = scene.folder.exists()
    while scene.folder.exists():
        shutil.rmtree(scene.folder, ignore_errors=True)
    return is_running and is_there


def move_folder(scene: Scene, started: Started) -> bool:
    """Rename the run's folder; the search is then resumed under its new name."""
    is_running = scene.wait_for_moment(started)
    if not scene.folder.exists():
        return False
    old = scene.folder
    scene.name = f"{scene.name}-moved"
    old.rename(scene.folder)
    return is_running


def files() -> Iterator[Fault]:
    yield Fault("disk full", let_it_run, (1,), prepare=small_disk, mend=free_space, needs_mounts=True)
    yield Fault("folder read-only", make_read_only, (1, 2), mend=make_writable, needs_mounts=True)
    yield Fault("folder removed", remove_folder, (1,), removes=True)
    yield Fault("folder moved", move_folder, (1,))


# -- evaluators and devices ------------------------------------------------------------------------------------------

# Behaviours of a program, each with the expected exit code of the search.
PROGRAMS = {
    "hangs": ("time.sleep(999)", 1),
    "hangs and ignores signals": ("[signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)]; time.sleep(999)", 1),
    "forks": ("subprocess.Popen(['sleep', '999', str(HERE)], start_new_session=True)", 0),
    "forks and hangs": ("os.fork(); os.fork(); time.sleep(999)", 1),
    "leaks memory": (
        "resource.setrlimit(resource.RLIMIT_AS, (3 << 28, 3 << 28)); x = []\n"
        "while True: x.append(bytearray(1 << 24))",
        1,
    ),
    "prints 100 MB": ("[os.write(1, b'epoch 1\\n' * 131072) for _ in range(100)]", 0),
    "prints 100 MB of errors": ("[os.write(2, b'e' * (1 << 20)) for _ in range(100)]", 0),
    "raises": ("raise ValueError", 1),
    "exits with 3": ("sys.exit(3)", 1),
    "is killed": ("os.kill(os.getpid(), 9)", 1),
    "prints NaN": ("print('NaN'); sys.exit()", 1),
    "prints nothing": ("sys.exit()", 1),
}
FUNCTIONS = {
    "raises": ("raise ValueError('no')", 1),
    "returns NaN": ("zlib = type('Z', (), {'crc32': lambda _: float('nan')})\nglobals().update(zlib=zlib)", 1),
    "exits": ("sys.exit(0)", 1),
    "runs out of memory": ("raise MemoryError", 1),
    "prints 100 MB": ("[print('e' * (1 << 20)) for _ in range(100)]", 0),
}


def hostile(behaviour: str, *, is_program: bool) -> Callable[[Scene], None]:
    """A function that lets the evaluator misbehave after a random number of answers."""

    def prepare(scene: Scene) -> None:
        scene.evaluator = scene.program if is_program else ""
        scene.misbehave(behaviour, after=scene.rng.randint(0, 8))

    return prepare


def interrupt_hanging(*, times: int) -> Callable[[Scene, Started], bool]:
    """A function that sends Ctrl-C a number of times while the evaluator hangs."""

    def strike(scene: Scene, started: Started) -> bool:
        is_running = started.wait_for_file(scene.root / "hangs")
        for _ in range(times):
            is_running = is_running and started.wait(0.2)
            started.send(signal.SIGINT)
        return is_running

    return strike


HANG = "(HERE / 'hangs').touch(); time.sleep(999)"
SWALLOW = "while True:\n    try: (HERE / 'hangs').touch(); time.sleep(999)\n    except BaseException: pass"


def evaluators() -> Iterator[Fault]:
    for is_program, behaviours in ((True, PROGRAMS), (False, FUNCTIONS)):
        what = "program" if is_program else "function"
        for name, (code, exit_code) in behaviours.items():
            prepare = hostile(code, is_program=is_program)
            yield Fault(f"{what} {name}", let_it_run, (exit_code,), prepare=prepare, mend=Scene.behave)
    for name, behaviour, is_program, times, codes in (
        ("program hangs, Ctrl-C", HANG, True, 1, (INTERRUPTED,)),
        ("function hangs, Ctrl-C", HANG, False, 1, (INTERRUPTED,)),
        ("function catches Ctrl-C, twice", SWALLOW, False, 2, (INTERRUPTED, -signal.SIGINT)),
    ):
        prepare = hostile(behaviour, is_program=is_program)
        yield Fault(name, interrupt_hanging(times=times), codes, prepare=prepare, mend=Scene.behave)


DEVICES = {
    "device is lost": "raise DeviceError('the device was disconnected')",
    "device raises OSError": "raise OSError(19, 'No such device')",
    "device raises RuntimeError": "raise RuntimeError('CUDA error: device lost')",
}


def use_device(scene: Scene) -> None:
    """Measure on a device that can disappear."""
    scene.device = "vanishing"


def vanish(behaviour: str, *, interrupts: bool = False) -> Callable[[Scene, Started], bool]:
    """A function that makes the device fail at a random time."""

    def strike(scene: Scene, started: Started) -> bool:
        is_running = scene.wait_for_moment(started)
        part = scene.root / "gone.part"
        part.write_text(behaviour)
        part.rename(scene.root / "gone")
        if interrupts:
            is_running = is_running and started.wait(0.5)
            started.send(signal.SIGINT)
        return is_running

    return strike


def come_back(scene: Scene) -> None:
    """Make the device work again."""
    (scene.root / "gone").unlink(missing_ok=True)


# -- clock and images ------------------------------------------------------------------------------------------------

DAY_S = 86_400


def with_clock(scene: Scene) -> None:
    """Run in a new process whose clock can be set."""
    scene.clock = scene.root / "clock"
    scene.clock.write_text("+0s")


def jump(scene: Scene, started: Started) -> bool:
    """Set the clock to another year at a random time, and interrupt the search later."""
    assert scene.clock is not None
    is_running = started.wait_for_file(scene.root / "called") and scene.wait_a_moment(started)
    scene.clock.write_text(f"{scene.rng.randint(-20 * 365, 20 * 365) * DAY_S:+d}s")
    if scene.rng.random() < 0.5:
        is_running = is_running and scene.wait_a_moment(started)
        started.send(signal.SIGKILL)
    return is_running


def with_images(scene: Scene) -> None:
    """Search with shared weights, and train the best networks at the end."""
    write_inputs(scene.root)
    scene.evaluator = f"supernet:data={scene.root / 'pictures'},epochs=8,fidelity=1"
    scene.command = ("--latency-ms", "50", "--time", "40s", "--space", str(scene.root / "space.yaml"), "--finetune")
    scene.trials = None


def images() -> Iterator[Fault]:
    """Signals in the phases of a search with images."""
    for phase in ("preparation", "calibration", "finetune", "write_report"):
        for number, codes in ((signal.SIGINT, INTERRUPTED), (signal.SIGTERM, INTERRUPTED), (signal.SIGKILL, -9)):
            strike = in_phase(number, phase)
            yield Fault(f"images: {number.name}, {phase}", strike, (codes,), most=2, prepare=with_images)


def devices() -> Iterator[Fault]:
    for name, behaviour in DEVICES.items():
        yield Fault(name, vanish(behaviour), (1,), most=2, prepare=use_device, mend=come_back)
    hangs = vanish("time.sleep(999)", interrupts=True)
    yield Fault("device hangs, Ctrl-C", hangs, (INTERRUPTED,), prepare=use_device, mend=come_back)


def all_faults() -> list[Fault]:
    """Every fault, in the order of the table."""
    clock = Fault("clock jumps", jump, (0, -signal.SIGKILL), prepare=with_clock, needs_faketime=True)
    return [*signals(), *files(), *evaluators(), *devices(), clock, *images()]


def own_mounts() -> bool:
    """Give this process a separate mount namespace; returns whether it may mount."""
    if os.geteuid() != 0 or ctypes.CDLL(None).unshare(CLONE_NEWNS) != 0:  # os.unshare needs Python 3.12
        return False
    return subprocess.run(["mount", "--make-rprivate", "/"], check=False, capture_output=True).returncode == 0
