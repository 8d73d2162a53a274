"""The base class of devices on other machines, which reconnects and sends each file once."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import TypeVar

from mnv2search.errors import DeviceError
from mnv2search.latency.device import MeasuredDevice, check_threads
from mnv2search.latency.hosts.types import HostLostError, NoRoomError, Transport
from mnv2search.latency.measuring.throttling import Cooler
from mnv2search.latency.measuring.timing import Measurer
from mnv2search.latency.runner.identity import Identity
from mnv2search.latency.runtime import Runtime
from mnv2search.latency.types import BurstRequest, DeviceInfo, Runs
from mnv2search.lowering.types import Artifact
from mnv2search.spec.plan import plan

LOG = logging.getLogger("mnv2search.latency")
T = TypeVar("T")

# Number of networks whose files stay in memory, so that they need not be generated again for every visit.
ARTIFACTS = 32
# Time limit of an answer, in addition to the time of the bursts: a small board needs time to load a network.
ANSWER_S = 90.0
# Factor by which a burst may exceed its requested time: for untimed runs, and for networks of seconds per inference.
BURST_FACTOR = 10.0


class Patience:
    """The retry policy for a lost machine: the waiting time doubles with each attempt, up to a total time.

    The last attempt is after `total_s` for a lost machine, and after `room_s` for a full disk, which rarely frees up.
    """

    def __init__(
        self,
        *,
        first_s: float = 1.0,
        longest_s: float = 60.0,
        total_s: float = 600.0,
        room_s: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._first_s, self._longest_s, self._total_s, self._room_s = first_s, longest_s, total_s, room_s
        self._sleep, self._clock = sleep, clock
        self._since_s: float | None = None
        self._wait_s = first_s

    def wait(self, name: str, error: HostLostError) -> None:
        """Log the error and wait before the next attempt; a DeviceError after the total time."""
        now_s = self._clock()
        self._since_s = now_s if self._since_s is None else self._since_s
        waited_s, is_full = now_s - self._since_s, isinstance(error, NoRoomError)
        if is_full and waited_s >= self._room_s:
            raise DeviceError(
                f"no room on {name} for {waited_s:.0f} s: {error.message}",
                hint="free some there, or name another folder with the option work=FOLDER; what was measured is kept",
            ) from error
        if not is_full and waited_s >= self._total_s:
            raise DeviceError(
                f"{name} has been unreachable for {self._total_s / 60:.0f} minutes: {error.message}",
                hint="what was measured before is kept; run the same command again when the machine is back",
            ) from error
        what = "no room on" if is_full else "lost"
        LOG.warning("%s %s: %s; trying again in %.0f s", what, name, error.message, self._wait_s)
        self._sleep(self._wait_s)
        self._wait_s = min(2 * self._wait_s, self._longest_s)

    def reset(self) -> None:
        """Start over after the machine was reached."""
        self._since_s, self._wait_s = None, self._first_s


class HostedDevice(MeasuredDevice, ABC):
    """A runtime on a machine at the other end of a transport.

    The transport is closed with the device. The device runs on `cores`, which are ``big`` or numbers such as ``4-7``.
    Its name includes `options`, as ``key=value``, in addition to the runtime's. `patience` is the retry policy for a
    machine that is lost after it was opened.

    Raises:
        DeviceError: the machine cannot be reached, or lacks a requirement.
        OptionError: the machine has fewer processors than threads, or does not have these cores.
    """

    round_trip: int

    def __init__(
        self, runtime: Runtime, transport: Transport, *, cores: str, options: Sequence[str], patience: Patience | None
    ) -> None:
        self.runtime = runtime
        self._transport = transport
        self._cores, self._options = cores, tuple(options)
        self._patience = patience or Patience()
        self._artifact = lru_cache(maxsize=ARTIFACTS)(lambda spec: runtime.lower(plan(spec)))
        self._pushed: set[str] = set()
        self._closed = False
        try:
            transport.connect()
            self._info = self._opened()
        except BaseException:
            self._drop()
            raise

    @abstractmethod
    def bursts(self, requests: Sequence[BurstRequest]) -> Sequence[Runs]:
        """The times of the runs of each request; see `BurstDevice`."""

    def _described(self, identity: Identity, *, version: str, pinned: str) -> DeviceInfo:
        host = self._transport.name
        check_threads(self.runtime.name, self.runtime.threads, identity["cores"], host)
        return self.runtime.info(identity, version=version, pinned=pinned, options=self._options, host=host)

    def _new_measurer(self) -> Measurer:
        return Measurer(self, cooler=Cooler(name=self._transport.name))

    def _close(self) -> None:
        self._closed = True
        self._drop()

    @abstractmethod
    def _opened(self) -> DeviceInfo:
        """The description of the device, once the transport has connected."""

    @abstractmethod
    def _reconnect(self) -> None:
        """Connect again if the connection was dropped."""

    def _drop(self) -> None:
        self._pushed = set()
        self._transport.close()

    def _retried(self, attempt: Callable[[], T]) -> T:
        while True:
            if self._closed:
                raise DeviceError(f"{self._info.name} is closed")
            try:
                self._reconnect()
                result = attempt()
            except HostLostError as error:
                self._drop()
                if self._closed:
                    raise
                self._patience.wait(self._transport.name, error)
            else:
                self._patience.reset()
                return result

    def _push(self, artifacts: Iterable[Artifact]) -> None:
        new = {artifact.digest: artifact for artifact in artifacts if artifact.digest not in self._pushed}
        if new:
            files = {f"{digest}/{name}": content for digest, a in new.items() for name, content in a.files}
            self._transport.push(files)
            self._pushed |= new.keys()
