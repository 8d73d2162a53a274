"""What devices on other machines share: going on after the machine was lost, and files that are sent once."""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from mnv2search.errors import DeviceError
from mnv2search.latency.device import MeasuredDevice
from mnv2search.latency.hosts.types import HostLostError, NoRoomError, Transport
from mnv2search.latency.measuring.throttling import Cooler, Cooling
from mnv2search.latency.measuring.timing import Measurer
from mnv2search.latency.runtime import Runtime
from mnv2search.latency.types import BurstRequest, DeviceInfo, Runs
from mnv2search.lowering.artifact import Artifact
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import plan

__all__ = ["ANSWER_S", "BURST_FACTOR", "HostedDevice", "Patience"]

LOG = logging.getLogger("mnv2search.latency")
T = TypeVar("T")

# Networks whose files are kept here, so that they are not written anew for every visit.
KEPT = 32
# An answer may take this long beyond the time of the bursts themselves: a small board needs some to load a network.
ANSWER_S = 90.0
# How much longer than asked a burst may take: its untimed runs, and a network of some seconds an inference.
BURST_FACTOR = 10.0


class Patience:
    """How long to go on trying when a machine is lost.

    Args:
        first_s: before the first attempt; each further one waits twice as long.
        longest_s: between two attempts.
        total_s: after which it is given up.
        room_s: after which a machine is given up whose disk is full: that seldom mends itself.
        sleep: waits for so many seconds.
        clock: seconds that never go backwards.
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
        """Wait before another attempt, and say so.

        Raises:
            DeviceError: it has taken too long.
        """
        now_s = self._clock()
        self._since_s = now_s if self._since_s is None else self._since_s
        if isinstance(error, NoRoomError):
            self._wait_for_room(name, error, now_s - self._since_s)
            return
        if now_s - self._since_s >= self._total_s:
            raise DeviceError(
                f"{name} has been away for {self._total_s / 60:.0f} minutes: {error.message}",
                hint="what was measured before is kept; run the same command again when the machine is back",
            ) from error
        LOG.warning("lost %s: %s; trying again in %.0f s", name, error.message, self._wait_s)
        self._sleep(self._wait_s)
        self._wait_s = min(2 * self._wait_s, self._longest_s)

    def _wait_for_room(self, name: str, error: NoRoomError, waited_s: float) -> None:
        if waited_s >= self._room_s:
            raise DeviceError(
                f"no room on {name} for {waited_s:.0f} s: {error.message}",
                hint="free some there, or name another folder with the option work=FOLDER; what was measured is kept",
            ) from error
        LOG.warning("no room on %s: %s; trying again in %.0f s", name, error.message, self._wait_s)
        self._sleep(self._wait_s)
        self._wait_s = min(2 * self._wait_s, self._longest_s)

    def reset(self) -> None:
        """It is there again."""
        self._since_s, self._wait_s = None, self._first_s


class HostedDevice(MeasuredDevice):
    """A runtime on a machine at the other end of a transport.

    Args:
        runtime: what runs there.
        transport: the connection; closed with the device.
        patience: for a machine that is lost after it was opened.

    Raises:
        DeviceError: the machine cannot be reached, or lacks something.
        OptionError: what was asked for is not there.
    """

    round_trip: int
    """How many networks are best visited between two questions to the device."""

    def __init__(self, runtime: Runtime, transport: Transport, patience: Patience | None) -> None:
        self.runtime = runtime
        self._transport = transport
        self._patience = patience or Patience()
        self._artifacts: OrderedDict[ModelSpec, Artifact] = OrderedDict()
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
        """What the runs of each request took, in the order given.

        Raises:
            DeviceError: the runtime refuses a network, or the machine stays away.
        """

    def _new_measurer(self) -> Measurer:
        return Measurer(self, cooler=Cooler(Cooling(), name=self._transport.name))

    def _close(self) -> None:
        """End what runs there, and the connection."""
        self._closed = True
        self._drop()

    @abstractmethod
    def _opened(self) -> DeviceInfo:
        """What the machine is, once the transport has connected."""

    @abstractmethod
    def _come_back(self) -> None:
        """Connect again where the connection was dropped; nothing happens where it was not."""

    def _drop(self) -> None:
        """Give up the connection."""
        self._pushed = set()
        self._transport.close()

    def _insist(self, attempt: Callable[[], T]) -> T:
        """What `attempt` returns, however often the machine has to be found again."""
        while True:
            if self._closed:
                raise DeviceError(f"{self._info.name} is closed")
            try:
                self._come_back()
                found = attempt()
            except HostLostError as error:
                self._drop()
                if self._closed:
                    raise
                self._patience.wait(self._transport.name, error)
            else:
                self._patience.reset()
                return found

    def _push(self, artifacts: Iterable[Artifact]) -> None:
        new = {artifact.digest: artifact for artifact in artifacts if artifact.digest not in self._pushed}
        if new:
            files = {f"{digest}/{name}": content for digest, a in new.items() for name, content in a.files}
            self._transport.push(files)
            self._pushed |= new.keys()

    def _artifact(self, spec: ModelSpec) -> Artifact:
        if spec in self._artifacts:
            self._artifacts.move_to_end(spec)
            return self._artifacts[spec]
        while len(self._artifacts) >= KEPT:
            self._artifacts.popitem(last=False)
        self._artifacts[spec] = self.runtime.lower(plan(spec))
        return self._artifacts[spec]
