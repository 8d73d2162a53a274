"""Workers of a run: worker processes that the run starts on this machine, and the work of any worker."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from mnv2search.accuracy.evaluator import Evaluator
from mnv2search.accuracy.registry import open_evaluator
from mnv2search.display import Displayed
from mnv2search.errors import OptionError, RecordError, StorageError
from mnv2search.latency.measuring.pool import ALIKE
from mnv2search.latency.prediction.cache import LatencyCache
from mnv2search.latency.registry import open_device
from mnv2search.latency.types import DeviceInfo
from mnv2search.results.manifest import Manifest, manifest_json
from mnv2search.study.latency_model import LatencyModel
from mnv2search.study.types import Settings, Worker
from mnv2search.study.workers.heartbeat import beating
from mnv2search.study.workers.jobs import Presence, Role, RunDescription
from mnv2search.study.workers.pool import WorkerPool
from mnv2search.study.workers.shared_study import SharedStudy, Status
from mnv2search.study.workers.storage_url import masked, sqlite_file
from mnv2search.study.workers.worker import NetworkEvaluator, work
from mnv2search.untrusted import UnsafeFileError, json_as
from mnv2search.workflows.search.folder import OWN_STORAGE, STUDY_FILE, WORK
from mnv2search.workflows.search.log import space_of_run
from mnv2search.workflows.search.request import Request, shared_weights_error
from mnv2search.workflows.search.trust import check_trust

# Environment variable for the default of `--storage`.
STORAGE_VARIABLE = "MNV2SEARCH_STORAGE"
# Time in which a worker has to end: after the run has ended, and after it was interrupted.
LEAVE_S = 20.0


class LocalWorkers:
    """Worker processes on this machine, which end with the run."""

    def __init__(self, run: str, url: str, *, count: int) -> None:
        self._run, self._url, self._count = run, url, count
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start the processes; their errors are printed to stderr."""
        words = [sys.executable, "-m", "mnv2search", "worker", self._run, "--trust", "--quiet"]
        for _ in range(self._count):
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, STORAGE_VARIABLE: self._url},  # not an argument, since it may contain a password
                start_new_session=True,  # Ctrl-C reaches only the run, which ends its workers
            )
            self._processes.append(process)

    def ended(self) -> tuple[str, ...]:
        """The names of the workers whose processes have ended."""
        return tuple(worker_name(one.pid) for one in self._processes if one.poll() is not None)

    def stop(self, *, at_once: bool) -> None:
        """Wait until the processes end, then terminate those still running; `at_once` terminates without waiting."""
        if not at_once:
            self._wait()
        for end in (subprocess.Popen.terminate, subprocess.Popen.kill):
            for process in self._processes:
                if process.poll() is None:
                    end(process)
            self._wait()

    def _wait(self) -> None:
        ends = time.monotonic() + LEAVE_S
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, ends - time.monotonic()))


@contextmanager
def worker_pool(
    folder: Path,
    manifest: Manifest,
    evaluator: Evaluator,
    request: Request,
    *,
    noted: Callable[[str], None],
) -> Iterator[WorkerPool | None]:
    """Create the pool of workers of a run, and end the workers with the run; yields None if the run has no workers.

    With `force` in the request, another run of this name in the storage is ended.

    Raises:
        OptionError: the accuracies cannot be determined by workers, or the storage cannot be used.
        RecordError: the storage holds another run of this name that has not ended.
        StorageError: the storage cannot be reached.
    """
    if request.workers is None and not request.storage:
        yield None
        return
    _check_evaluator(evaluator, request.settings, noted)
    url = request.storage or str((folder / OWN_STORAGE).absolute())
    _check_storage(url)
    run = RunDescription(
        name=folder.name,
        created_at=manifest.created_at,
        manifest=manifest_json(manifest),
        work=str((folder / WORK).absolute()),
    )
    if evaluator.can_finetune:
        (folder / WORK).mkdir(exist_ok=True)  # for the weights of trained networks
    count = 1 if request.workers is None else request.workers
    local = LocalWorkers(folder.name, url, count=count)
    status: Status = "interrupted"
    with SharedStudy.create(url, run, replaces=request.force) as study:
        if not count:
            noted(f"waiting for workers: mnv2search worker {folder.name} --storage {masked(url)}")
        try:
            with beating(study.beat):
                yield WorkerPool(study=study, count=count, noted=noted, start=local.start, ended=local.ended)
            status = "finished"
        finally:
            with contextlib.suppress(StorageError):
                study.write_status(status)
            local.stop(at_once=status != "finished")


def _check_storage(url: str) -> None:
    """Refuse the study file of a run, which is rebuilt from records."""
    file = sqlite_file(url)
    if file is not None and file.name == STUDY_FILE:
        raise OptionError(f"{file} is the study of a run", hint="choose another file for --storage")


def _check_evaluator(evaluator: Evaluator, settings: Settings, noted: Callable[[str], None]) -> None:
    """Refuse searches that workers cannot evaluate, and note that trainings are not stopped early."""
    if evaluator.method == "shared weights":
        raise shared_weights_error()
    if evaluator.is_timed and settings.time_s is not None:
        raise OptionError("workers cannot fit their trainings into --time", hint="use --trials instead of --time")
    if evaluator.halving is not None:
        noted("with workers, no training is stopped early")


def worker_name(process: int | None = None) -> str:
    """Name of the worker in a process of this machine, by default in this process.

    >>> worker_name(12).endswith("-12")
    True
    """
    return f"{socket.gethostname()}-{os.getpid() if process is None else process}"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class WorkerResult(Displayed):
    """The number of networks that a worker evaluated, and the status of the run when the worker left."""

    worker: str
    run: str
    evaluated: int
    status: str


def join_run(
    name: str,
    *,
    storage: str,
    device: str | None = None,
    only: Role | None = None,
    trust: bool = False,
    on_progress: Callable[[str, int], None] = lambda _name, _count: None,
) -> WorkerResult:
    """Evaluate networks of a run until it has ended, as `mnv2search worker` does.

    Args:
        name: name of the run in the storage.
        storage: file or URL of the storage.
        device: device to measure on; None takes the device of the run.
        only: the only value to determine, ``accuracy`` or ``latency``; None determines both.
        trust: use the programs, machines and data that the run names, even if someone else started the run.
        on_progress: called before each evaluation, with the name of the network and the number evaluated so far.

    Raises:
        RecordError: the storage has no such run, or the run is not trusted.
        OptionError: the device differs from that of the run.
        DeviceError: the device cannot run a network.
        EvaluatorError: an accuracy cannot be determined.
        StorageError: the storage cannot be used.
    """
    with SharedStudy.join(storage, name) as study:
        count = _work(study, name, device=device, only=only, trusts=trust, told=on_progress)
        return WorkerResult(worker=worker_name(), run=name, evaluated=count, status=study.status)


def _work(
    study: SharedStudy,
    name: str,
    *,
    device: str | None,
    only: Role | None,
    trusts: bool,
    told: Callable[[str, int], None],
) -> int:
    run = study.run
    try:
        manifest = json_as(Manifest, run.manifest)
    except UnsafeFileError as error:
        raise RecordError(f"the run {name!r} in the storage cannot be read: {error}") from error
    if not trusts:
        check_trust(
            f"{name} in this storage", manifest, hint="if you trust it, add --trust", evaluates=only != "latency"
        )
    space = space_of_run(name, manifest)
    worker = Worker(name=worker_name(), host=socket.gethostname())
    with ExitStack() as stack:
        evaluator = None if only == "latency" else open_evaluator(manifest.evaluator)
        if evaluator is not None and Path(run.work).is_dir():
            evaluator.keep_weights(Path(run.work))
        latency, named = None, ""
        if only != "accuracy":
            opened = open_device(device or manifest.device.name)
            stack.enter_context(opened)
            named = opened.info.name
            _check_alike(manifest.device, opened.info)
            latency = LatencyModel(
                opened, budget_ms=manifest.budget.latency_ms, cache=LatencyCache(), clock=time.monotonic
            )
        networks = NetworkEvaluator(
            space=space, budget=manifest.budget, seed=manifest.seed, evaluator=evaluator, latency=latency
        )
        return work(study, networks, Presence(worker=worker, device=named, only=only), told=told)


def _check_alike(ours: DeviceInfo, theirs: DeviceInfo) -> None:
    for field in ALIKE:
        if getattr(ours, field) != getattr(theirs, field):
            raise OptionError(
                f"{theirs.name} cannot measure for this run: its {field} is {getattr(theirs, field)!r}, but that "
                f"of the run's device is {getattr(ours, field)!r}",
                hint="choose an equal device with --device, or use --only accuracy",
            )
