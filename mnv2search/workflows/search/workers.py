"""Workers of a run: worker processes that the run starts on this machine, and the work of any worker."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic, sleep

from mnv2search.accuracy.evaluator import Evaluator
from mnv2search.accuracy.registry import open_evaluator
from mnv2search.display import Displayed
from mnv2search.errors import Mnv2SearchError, OptionError, RecordError, StorageError
from mnv2search.latency.device import processors
from mnv2search.latency.measuring.pool import ALIKE
from mnv2search.latency.prediction.cache import LatencyCache
from mnv2search.latency.registry import open_device
from mnv2search.latency.types import DeviceInfo
from mnv2search.model.memory import memory_bytes
from mnv2search.results.manifest import Manifest, manifest_json
from mnv2search.study.deadline import seconds_of
from mnv2search.study.latency_model import LatencyModel
from mnv2search.study.types import Settings, Worker
from mnv2search.study.workers.heartbeat import beating
from mnv2search.study.workers.jobs import Presence, Role, RunDescription
from mnv2search.study.workers.pool import WorkerPool
from mnv2search.study.workers.shared_study import PATIENCE_S, RETRY_S, SharedStudy, Status
from mnv2search.study.workers.storage_url import LostStorageError, masked, sqlite_file
from mnv2search.study.workers.weights_store import WeightsStore
from mnv2search.study.workers.worker import NetworkEvaluator, work
from mnv2search.untrusted import UnsafeFileError, json_as
from mnv2search.workflows.search.folder import OWN_STORAGE, STUDY_FILE, WORK
from mnv2search.workflows.search.log import space_of_run
from mnv2search.workflows.search.ray_workers import RAY, RayWorkers, ray_options
from mnv2search.workflows.search.request import Request
from mnv2search.workflows.search.trust import check_trust

# Environment variable for the default of `--storage`.
STORAGE_VARIABLE = "MNV2SEARCH_STORAGE"
# Private memory of a worker before its first network, measured with ONNX Runtime, without and with PyTorch.
WORKER_BYTES, TRAINING_WORKER_BYTES = 130_000_000, 190_000_000
# Time in which a worker has to end: after the run has ended, and after it was interrupted.
LEAVE_S = 20.0
# Time for which the workers of a run wait for the storage when they start, as they do later.
OUTAGE_S = PATIENCE_S


class LocalWorkers:
    """Worker processes on this machine, which end with the run."""

    def __init__(self, run: str, url: str, *, count: int) -> None:
        self._run, self._url, self._count = run, url, count
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start the processes; their errors are printed to stderr."""
        words = [sys.executable, "-m", "mnv2search", "worker", self._run, "--trust", "--quiet"]
        words += ["--wait", f"{OUTAGE_S:g}s"]
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
        ends = monotonic() + LEAVE_S
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, ends - monotonic()))


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
    count = 1 if request.workers is None else request.workers
    each = WORKER_BYTES if evaluator.task is None else TRAINING_WORKER_BYTES
    if not request.launcher.startswith(RAY):
        check_count(count, each=each, memory=memory_bytes(), cores=processors(), noted=noted)
    _check_evaluator(evaluator, request.settings, noted)
    url = request.storage or str((folder / OWN_STORAGE).absolute())
    _check_storage(url)
    store = _weights_store(folder, evaluator, request)
    run = RunDescription(
        name=folder.name,
        created_at=manifest.created_at,
        manifest=manifest_json(manifest),
        work=str((folder / WORK).absolute()),
        store="" if store is None else store.place,
    )
    if evaluator.can_finetune:
        (folder / WORK).mkdir(exist_ok=True)  # for the weights of trained networks
    launched = _launched(request, folder.name, url, count=count, noted=noted)
    status: Status = "interrupted"
    with SharedStudy.create(url, run, replaces=request.force) as study:
        if not count:
            noted(f"waiting for workers: mnv2search worker {folder.name} --storage {masked(url)}")
        try:
            with beating(study.beat):
                yield WorkerPool(
                    study=study, count=count, noted=noted, store=store, start=launched.start, ended=launched.ended
                )
            status = "finished"
        finally:
            with contextlib.suppress(StorageError):
                study.write_status(status)
            launched.stop(at_once=status != "finished")


def _launched(
    request: Request, run: str, url: str, *, count: int, noted: Callable[[str], None]
) -> LocalWorkers | RayWorkers:
    """The workers that a run starts by itself."""
    if not request.launcher.startswith(RAY):
        return LocalWorkers(run, url, count=count)
    options = ray_options(request.launcher)
    task = partial(work_in_task, run, url, options.only)
    return RayWorkers(task, options, count=count, leave_s=LEAVE_S, noted=noted)


def work_in_task(run: str, url: str, only: Role | None) -> tuple[str, str]:
    """Evaluate networks of a run until it has ended; returns the name of the worker, and its error or ""."""
    try:
        done = join_run(run, storage=url, only=only, trust=True, wait=OUTAGE_S)
    except Mnv2SearchError as error:
        return worker_name(), error.message
    return done.worker, ""


def _weights_store(folder: Path, evaluator: Evaluator, request: Request) -> WeightsStore | None:
    """The store of shared weights, by default the folder of the run; None if the evaluator has none."""
    if not evaluator.can_share_weights:
        return None
    place = request.weights_store or str(folder / WORK)
    store = WeightsStore(place if "://" in place else str(Path(place).absolute()))
    store.check()
    return store


def check_count(count: int, *, each: int, memory: int, cores: int, noted: Callable[[str], None]) -> None:
    """Refuse more workers than the memory of this machine holds, and note that they share its processors.

    `each` is the memory of a worker in bytes, and `memory` that of the machine.

    Raises:
        OptionError: the workers need more memory than there is.
    """
    if count * each > memory:
        raise OptionError(
            f"{count} workers need at least {count * each / 1e9:,.1f} GB of memory, but this machine has "
            f"{memory / 1e9:,.1f} GB",
            hint=f"give at most --workers {memory // each}, and start others on other machines with "
            "`mnv2search worker`",
        )
    if count > cores:
        noted(
            f"{count} workers share {cores} processor{'s' * (cores > 1)}: more workers than processors help only if "
            "an evaluation waits, for instance for a GPU or another machine"
        )


def _check_storage(url: str) -> None:
    """Refuse the study file of a run, which is rebuilt from records."""
    file = sqlite_file(url)
    if file is not None and file.name == STUDY_FILE:
        raise OptionError(f"{file} is the study of a run", hint="choose another file for --storage")


def _check_evaluator(evaluator: Evaluator, settings: Settings, noted: Callable[[str], None]) -> None:
    """Refuse searches that workers cannot evaluate, and note that trainings are not stopped early."""
    if evaluator.method == "shared weights" and not evaluator.can_share_weights:
        raise OptionError(
            "the weights that this evaluator prepares cannot be passed to workers",
            hint="leave out --workers and --storage, or train every network: --accuracy train",
        )
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
    wait: float | str | None = None,
    trust: bool = False,
    on_progress: Callable[[str, int], None] = lambda _name, _count: None,
) -> WorkerResult:
    """Evaluate networks of a run until it has ended, as `mnv2search worker` does.

    Args:
        name: name of the run in the storage.
        storage: file or URL of the storage.
        device: device to measure on; None takes the device of the run.
        only: the only value to determine, ``accuracy`` or ``latency``; None determines both.
        wait: time to wait for the storage, and for the run in it, in seconds or as text; None does not wait.
        trust: use the programs, machines and data that the run names, even if someone else started the run.
        on_progress: called before each evaluation, with the name of the network and the number evaluated so far.

    Raises:
        RecordError: the storage has no such run, or the run is not trusted.
        OptionError: the device differs from that of the run.
        DeviceError: the device cannot run a network.
        EvaluatorError: an accuracy cannot be determined.
        StorageError: the storage cannot be used.
    """
    with _joined(storage, name, wait_s=seconds_of(wait) or 0.0) as study:
        worker = Worker(name=_new_name(study), host=socket.gethostname())
        count = _work(study, name, worker, device=device, only=only, trusts=trust, told=on_progress)
        return WorkerResult(worker=worker.name, run=name, evaluated=count, status=study.signals().status)


def _joined(storage: str, name: str, *, wait_s: float) -> SharedStudy:
    """The study of a run, as soon as the storage can be reached and has it."""
    ends = monotonic() + wait_s
    while True:
        try:
            return SharedStudy.join(storage, name)
        except (LostStorageError, RecordError):
            if monotonic() >= ends:
                raise
        sleep(RETRY_S)


def _new_name(study: SharedStudy) -> str:
    """A name that no worker of the run has had: a container that is started again keeps host and process number."""
    name, taken = worker_name(), {one.worker.name for one in study.presences()}
    return f"{name}-{secrets.token_hex(4)}" if name in taken else name


def _work(
    study: SharedStudy,
    name: str,
    worker: Worker,
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
    store = WeightsStore(run.store) if run.store and only != "latency" else None
    if not trusts:
        check_trust(
            f"{name} in this storage",
            manifest,
            hint="if you trust it, add --trust",
            evaluates=only != "latency",
            others=() if store is None else (f"read shared weights from {store}",),
        )
    space = space_of_run(name, manifest)
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
                opened, budget_ms=manifest.budget.latency_ms, cache=LatencyCache(), clock=monotonic
            )
        networks = NetworkEvaluator(
            space=space,
            budget=manifest.budget,
            seed=manifest.seed,
            evaluator=evaluator,
            latency=latency,
            store=store,
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
