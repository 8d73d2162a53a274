"""Workers of a run as tasks of a Ray cluster, which places them on its nodes and restarts those that die."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from mnv2search import plugins
from mnv2search.errors import OptionError, UnknownNameError, check_package
from mnv2search.study.workers.jobs import Role

# Texts of `--launcher`, before the options of Ray.
LOCAL, RAY = "local", "ray"
# Evaluates networks of a run; returns the name of the worker, and its error (empty if there was none).
Task = Callable[[], tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RayOptions:
    """What each worker gets.

    Attributes:
        cpus: processors; Ray also limits the threads of the worker to them.
        gpus: GPUs; the worker sees no others.
        only: the only value to determine; None determines latencies and accuracies.
    """

    cpus: Annotated[float, Meta(ge=0)] = 1.0
    gpus: Annotated[float, Meta(ge=0)] = 0.0
    only: Role | None = None


def ray_options(text: str) -> RayOptions:
    """The options of ``ray:cpus=4,gpus=1,only=accuracy``, all of which may be left out.

    >>> ray_options("ray:gpus=0.5")
    RayOptions(cpus=1.0, gpus=0.5, only=None)

    Raises:
        UnknownNameError: an option is not known.
        OptionError: a value cannot be used.
    """
    pairs = [pair.partition("=") for pair in text.partition(":")[2].split(",") if pair]
    given = plugins.checked_options(RayOptions, {key: value for key, _, value in pairs}, owner="launcher ray")
    try:
        return msgspec.convert(given, RayOptions, strict=False)
    except msgspec.ValidationError as error:
        hint = "write for instance ray:cpus=4,gpus=1,only=accuracy"
        raise OptionError(f"--launcher is {text!r}: {error}", hint=hint) from error


def check_launcher(launcher: str, storage: str) -> None:
    """Refuse a launcher that is not known, and tasks of Ray without a storage on the network.

    Raises:
        UnknownNameError: the launcher, or one of its options, is not known.
        OptionError: a value cannot be used, or the storage is a file.
    """
    name = launcher.partition(":")[0]
    if name not in (LOCAL, RAY) or (name == LOCAL and launcher != name):
        raise UnknownNameError("launcher", launcher, (LOCAL, RAY))
    if name == LOCAL:
        return
    ray_options(launcher)
    if "://" not in storage or storage.startswith("sqlite"):
        raise OptionError(
            f"--launcher {launcher} needs a storage that every node of the cluster can reach",
            hint="give --storage postgresql://USER:PASSWORD@HOST/DATABASE or grpc://HOST:PORT",
        )


class RayWorkers:
    """Workers in tasks of the Ray cluster that `RAY_ADDRESS` names, or else of the cluster on this machine.

    Ray runs the task of a worker again, on any node, if its process or its node dies.

    Raises:
        MissingExtraError: Ray is not installed.
        OptionError: there is no cluster.
    """

    def __init__(
        self, task: Task, options: RayOptions, *, count: int, leave_s: float, noted: Callable[[str], None]
    ) -> None:
        check_package("ray", feature="--launcher ray", extra="ray")
        import ray

        self._ray: Any = ray
        self._is_connected = ray.is_initialized()  # by a program that uses `mnv2search.run`
        self._task, self._options, self._count = task, options, count
        self._leave_s, self._noted = leave_s, noted
        self._running: list[Any] = []
        self._ended: list[str] = []
        if not self._is_connected:
            self._connect()

    def start(self) -> None:
        """Submit the tasks; Ray starts each as soon as a node is free."""
        resources = {"num_cpus": self._options.cpus, "num_gpus": self._options.gpus}
        remote = self._ray.remote(max_retries=-1, **resources)(_called)
        self._running = [remote.remote(self._task) for _ in range(self._count)]
        free = self._ray.available_resources().get("CPU", 0.0)
        if free < self._count * self._options.cpus:
            self._noted(f"the Ray cluster has {free:g} free processors: some workers start when others are free")

    def ended(self) -> tuple[str, ...]:
        """The names of the workers whose tasks have ended."""
        if self._running:
            done, self._running = self._ray.wait(self._running, num_returns=len(self._running), timeout=0)
            for one in done:
                name, error = self._ray.get(one)
                self._ended.append(name)
                if error:
                    self._noted(f"worker {name} on the Ray cluster failed: {error}")
        return tuple(self._ended)

    def stop(self, *, at_once: bool) -> None:
        """Wait until the tasks end, then cancel those still running; `at_once` cancels without waiting."""
        if not at_once:
            self._wait()
        for is_forced in (False, True):
            for one in self._running:
                self._ray.cancel(one, force=is_forced)
            self._wait()
        if not self._is_connected:
            self._ray.shutdown()

    def _wait(self) -> None:
        if self._running:
            count = len(self._running)
            _, self._running = self._ray.wait(self._running, num_returns=count, timeout=self._leave_s)

    def _connect(self) -> None:
        """Connect to the cluster, and keep the handler of SIGTERM, which Ray replaces."""
        before = signal.getsignal(signal.SIGTERM)
        try:
            self._ray.init(address="auto", log_to_driver=False, configure_logging=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            lines = str(error).splitlines()
            raise OptionError(
                f"there is no Ray cluster to connect to: {lines[0] if lines else type(error).__name__}",
                hint="start one with `ray start --head`, or set RAY_ADDRESS to HOST:6379",
            ) from error
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, before)


def _called(task: Task) -> tuple[str, str]:
    """The result of a task; Ray accepts only plain functions."""
    return task()
