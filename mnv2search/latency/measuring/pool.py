"""Several equal devices that share the work, and are held against one another."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median
from types import TracebackType
from typing import NamedTuple

from mnv2search.errors import DeviceError, OptionError
from mnv2search.latency.device import MeasuredDevice
from mnv2search.latency.device_text import SEPARATOR
from mnv2search.latency.measuring.timing import REFERENCE, Measurer, OnProgress
from mnv2search.latency.types import BurstRequest, Latency, LatencyDevice
from mnv2search.spec.mobilenet_v2 import MOBILENET_V2_BLOCKS
from mnv2search.spec.model_spec import ModelSpec

__all__ = ["ANCHORS", "Disagreement", "Pool", "PoolMeasurer"]

LOG = logging.getLogger("mnv2search.latency")

# What the members of a pool must have in common.
ALIKE = ("hardware", "machine", "runtime", "runtime_version", "threads", "pinned", "dtype", "batch", "delegate")
# Every member measures these first. A small and a large network besides the reference: a board with slow memory shows
# on the large one only.
ANCHORS = (
    REFERENCE,
    ModelSpec(name="anchor-small", width=0.35, resolution=96, blocks=MOBILENET_V2_BLOCKS),
    ModelSpec(name="anchor-large", width=1.0, resolution=224, blocks=MOBILENET_V2_BLOCKS),
)
# A member disagrees when it is off by more than this beyond its own interval.
DISAGREES = 0.05
# A member that is told to stop ends its visit first; one that hangs is left behind.
STOP_S = 5.0


class Disagreement(NamedTuple):
    """A member whose anchors take another time than its siblings'.

    Attributes:
        name: of the member.
        ratio: its latency over the median of all members, geometric mean over the anchors.
        used: whether its measurements are used all the same.
    """

    name: str
    ratio: float
    used: bool


class Pool(MeasuredDevice):
    """Equal devices as one.

    Args:
        members: two or more; closed with the pool.

    Raises:
        OptionError: they are not alike, or one is there twice.
    """

    def __init__(self, members: Sequence[LatencyDevice]) -> None:
        first = members[0].info
        for member in members[1:]:
            for field in ALIKE:
                ours, theirs = getattr(first, field), getattr(member.info, field)
                if ours != theirs:
                    raise OptionError(
                        f"{first.name} and {member.info.name} cannot share work: {field} is {ours!r} and {theirs!r}",
                        hint="give equal devices, or measure on one",
                    )
        names = [member.info.name for member in members]
        if len(set(names)) < len(names):
            raise OptionError(f"a device is there twice: {SEPARATOR.join(names)}", hint="name each once")
        self.members = tuple(members)
        hosts = SEPARATOR.join(member.info.host for member in members)
        self._info = replace(first, name=SEPARATOR.join(names), host=hosts)

    @property
    def round_trip(self) -> int:
        """That of the first member."""
        return getattr(self.members[0], "round_trip", 1)

    def bursts(self, requests: Sequence[BurstRequest]) -> list[list[tuple[int, int]]]:
        """Not asked of a pool: its members measure whole networks.

        Raises:
            DeviceError: always.
        """
        raise DeviceError(f"{self._info.name}: ask the members for {len(requests)} bursts, not the pool")

    def _new_measurer(self) -> PoolMeasurer:
        return PoolMeasurer([Measurer(member) for member in self.members])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every member."""
        for member in self.members:
            member.__exit__(kind, error, trace)


class PoolMeasurer:
    """Spreads networks over one measurer per member, and drops members that fail or disagree.

    Before anything else every member measures `ANCHORS`. Those that disagree with the median are no longer used.
    Without a majority, as of two members, only the slowest are, because a budget that they keep is kept by all.

    Args:
        measurers: one per member.
    """

    def __init__(self, measurers: Sequence[Measurer]) -> None:
        self._all = tuple(measurers)
        self._members = list(measurers)
        self._compared = False
        self._disagreements: tuple[Disagreement, ...] = ()

    @property
    def disagreements(self) -> tuple[Disagreement, ...]:
        """Members that were found to disagree."""
        return self._disagreements

    @property
    def reference_ms(self) -> float | None:
        """Undisturbed level of the reference, median over the members; None before the first measurement."""
        levels = [m.reference_ms for m in self._members if m.reference_ms is not None]
        return median(levels) if levels else None

    def forget(self, spec: ModelSpec) -> None:
        """Drop what is known of a network."""
        for member in self._all:
            member.forget(spec)

    def measure(
        self,
        specs: Sequence[ModelSpec],
        *,
        time_s: float | None = None,
        budget_ms: float | None = None,
        fresh: bool = False,
        on_progress: OnProgress | None = None,
    ) -> tuple[Latency, ...]:
        """The latency of every network, in the order given, each from one member; see `Measurer.measure`.

        Raises:
            DeviceError: no member is left; the error of the last one.
        """
        if not specs:
            return ()
        begin = time.monotonic()
        self._compare(time_s)
        left_s = None if time_s is None else max(time_s - (time.monotonic() - begin), 0.0)
        before = list(self._members)
        try:
            return self._spread(specs, time_s=left_s, budget_ms=budget_ms, fresh=fresh, on_progress=on_progress)
        except DeviceError:
            # what every member refuses is the network's fault, not theirs
            self._members = before
            raise

    def _spread(
        self,
        specs: Sequence[ModelSpec],
        *,
        time_s: float | None,
        budget_ms: float | None,
        fresh: bool,
        on_progress: OnProgress | None,
    ) -> tuple[Latency, ...]:
        found: dict[ModelSpec, Latency] = {}
        wanted = list(dict.fromkeys(specs))
        while wanted:
            shares = [wanted[i :: len(self._members)] for i in range(len(self._members))]
            progress = _Progress(on_progress, done=len(found))

            def work(
                member: Measurer, share: Sequence[ModelSpec], progress: _Progress = progress
            ) -> tuple[Latency, ...]:
                return member.measure(
                    share, time_s=time_s, budget_ms=budget_ms, fresh=fresh, on_progress=progress.of(id(member))
                )

            for share, latencies in zip(shares, self._each(work, shares), strict=True):
                found |= dict(zip(share, latencies or (), strict=False))
            wanted = [spec for spec in wanted if spec not in found]
        return tuple(found[spec] for spec in specs)

    def _compare(self, time_s: float | None) -> None:
        """Let every member measure the anchors, once, and drop those that disagree.

        It takes half of the time at most; what that leaves unsure widens the intervals, and with them what passes.
        """
        if self._compared:
            return
        members = list(self._members)
        half_s = None if time_s is None else time_s / 2
        measured = self._each(lambda member, _: member.measure(ANCHORS, time_s=half_s), [()] * len(members))
        latencies = {id(m): found for m, found in zip(members, measured, strict=True) if found is not None}
        middles = [median(found[i].median_ms for found in latencies.values()) for i in range(len(ANCHORS))]
        ratios: dict[int, float] = {}
        odd: set[int] = set()
        for key, found in latencies.items():
            logs = [math.log(one.median_ms / middle) for one, middle in zip(found, middles, strict=True)]
            width = max((one.ci_high_ms - one.ci_low_ms) / 2 / one.median_ms for one in found)
            mean = sum(logs) / len(logs)
            ratios[key] = math.exp(mean)
            # with as many on one side as on the other, each is half of the way to the median
            if abs(mean) * (2 if len(latencies) % 2 == 0 else 1) > DISAGREES + width:
                odd.add(key)
        self._judge(odd, ratios, {key: found[0].device.name for key, found in latencies.items()})
        self._compared = True

    def _judge(self, odd: set[int], ratios: dict[int, float], names: dict[int, str]) -> None:
        dropped = odd
        if 2 * len(odd) >= len(names):
            slowest = max(ratios.values())
            dropped = {key for key, ratio in ratios.items() if ratio < slowest * (1 - DISAGREES)}
        self._disagreements = tuple(
            Disagreement(names[key], ratios[key], key not in dropped) for key in names if key in odd | dropped
        )
        for one in self._disagreements:
            LOG.warning(
                "%s disagrees with its siblings: it takes %.3f times as long%s",
                one.name,
                one.ratio,
                "" if one.used else "; it is not used",
            )
        self._members = [member for member in self._members if id(member) not in dropped]

    def _each(
        self,
        work: Callable[[Measurer, Sequence[ModelSpec]], tuple[Latency, ...]],
        shares: Sequence[Sequence[ModelSpec]],
    ) -> list[tuple[Latency, ...] | None]:
        """What each member finds, all at once; None of one that failed, which is dropped.

        Raises:
            DeviceError: all failed.
        """
        members = list(self._members)
        found: list[tuple[Latency, ...] | None] = [None] * len(members)
        errors: dict[int, BaseException] = {}

        def run(index: int) -> None:
            try:
                found[index] = work(members[index], shares[index])
            except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
                errors[index] = error

        threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(len(members))]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except BaseException:  # Ctrl-C: no member goes on measuring for nobody
            for member in members:
                member.stop()
            for thread in threads:
                if thread.is_alive():
                    thread.join(STOP_S)
            raise
        for index, error in errors.items():
            if not isinstance(error, DeviceError) or len(errors) == len(members):
                raise error
            LOG.warning("a device of the pool is no longer used: %s", error)
            self._members.remove(members[index])
        return found


class _Progress:
    """Counts what several members have done."""

    def __init__(self, told: OnProgress | None, *, done: int) -> None:
        self._told, self._before = told, done
        self._done: dict[int, int] = {}
        self._lock = threading.Lock()

    def of(self, member: int) -> OnProgress | None:
        """What one member is to call."""
        if self._told is None:
            return None

        def tell(done: int) -> None:
            with self._lock:
                self._done[member] = done
                assert self._told is not None
                self._told(self._before + sum(self._done.values()))

        return tell
