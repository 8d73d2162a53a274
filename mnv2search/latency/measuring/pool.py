"""Pools of equal devices, which share the work and are compared with one another."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from statistics import geometric_mean, median
from typing import NamedTuple, TypeAlias

from mnv2search.errors import DeviceError, OptionError
from mnv2search.latency.device import MeasuredDevice
from mnv2search.latency.device_text import SEPARATOR
from mnv2search.latency.measuring.timing import REFERENCE, Measurer, OnProgress
from mnv2search.latency.types import BurstRequest, Latency, LatencyDevice
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.rows import MOBILENET_V2_BLOCKS

Measure: TypeAlias = Callable[[Measurer, Sequence[ModelSpec], OnProgress | None], tuple[Latency, ...]]
"""Measures a share of networks by one member."""
LOG = logging.getLogger("mnv2search.latency")

# Properties that the members of a pool must have in common.
ALIKE = ("hardware", "machine", "runtime", "runtime_version", "threads", "pinned", "dtype", "batch", "delegate")
# Every member measures these first: a small and a large network besides the reference, because slow memory shows only
# on a large network.
ANCHORS = (
    REFERENCE,
    ModelSpec(name="anchor-small", width=0.35, resolution=96, blocks=MOBILENET_V2_BLOCKS),
    ModelSpec(name="anchor-large", width=1.0, resolution=224, blocks=MOBILENET_V2_BLOCKS),
)
# A member disagrees if it deviates by more than this beyond its own interval.
DISAGREES = 0.05
# A member finishes its visit before it stops; the pool does not wait longer than this.
STOP_S = 5.0


class Disagreement(NamedTuple):
    """A member whose latencies of the anchors differ from those of the other members, and whether it is still used.

    `ratio` is its latency over the median of all members, as the geometric mean over the anchors.
    """

    name: str
    ratio: float
    used: bool


class Pool(MeasuredDevice):
    """Two or more equal devices as one device, which closes them at the end.

    Raises:
        OptionError: the devices differ, or one occurs twice.
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
            raise OptionError(f"a device is given twice: {SEPARATOR.join(names)}", hint="name each once")
        self.members = tuple(members)
        hosts = SEPARATOR.join(member.info.host for member in members)
        self._info = replace(first, name=SEPARATOR.join(names), host=hosts)

    @property
    def round_trip(self) -> int:
        """The value of the first member."""
        return getattr(self.members[0], "round_trip", 1)

    def bursts(self, requests: Sequence[BurstRequest]) -> list[list[tuple[int, int]]]:
        """Not supported: the members of a pool measure whole networks."""
        raise DeviceError(f"{self._info.name}: ask the members for {len(requests)} bursts, not the pool")

    def _new_measurer(self) -> PoolMeasurer:
        return PoolMeasurer([Measurer(member) for member in self.members])

    def __exit__(self, *error: object) -> None:
        """Close every member."""
        for member in self.members:
            member.__exit__(*error)


class PoolMeasurer:
    """A measurer that distributes networks over one measurer per member, and drops members that fail or disagree.

    First, every member measures `ANCHORS`. Members that disagree with the median are no longer used. Without a
    majority, as with two members, only the slowest are used: a network that is fast enough there is fast enough on
    all members.
    """

    def __init__(self, measurers: Sequence[Measurer]) -> None:
        self._all = tuple(measurers)
        self._members = list(measurers)
        self._compared = False
        self.disagreements: tuple[Disagreement, ...] = ()

    @property
    def reference_ms(self) -> float | None:
        """The undisturbed level of the reference, median over the members; None before the first measurement."""
        levels = [m.reference_ms for m in self._members if m.reference_ms is not None]
        return median(levels) if levels else None

    def forget(self, spec: ModelSpec) -> None:
        """Discard the visits to a network."""
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

        If no member is left, this raises the error of the last one.
        """
        if not specs:
            return ()
        begin = time.monotonic()
        self._compare(time_s)
        left_s = None if time_s is None else max(time_s - (time.monotonic() - begin), 0.0)
        before = list(self._members)

        def measure(
            member: Measurer, share: Sequence[ModelSpec], on_progress: OnProgress | None
        ) -> tuple[Latency, ...]:
            return member.measure(share, time_s=left_s, budget_ms=budget_ms, fresh=fresh, on_progress=on_progress)

        try:
            return self._spread(specs, measure, on_progress)
        except DeviceError:
            # a network that every member refuses is not a reason to drop them
            self._members = before
            raise

    def _spread(
        self, specs: Sequence[ModelSpec], measure: Measure, on_progress: OnProgress | None
    ) -> tuple[Latency, ...]:
        latencies: dict[ModelSpec, Latency] = {}
        missing = list(dict.fromkeys(specs))
        while missing:
            shares = [missing[i :: len(self._members)] for i in range(len(self._members))]
            reports = _progress_of_each(len(shares), on_progress, before=len(latencies))
            for share, measured in zip(shares, self._each(measure, shares, reports), strict=True):
                latencies |= zip(share, measured or (), strict=False)
            missing = [spec for spec in missing if spec not in latencies]
        return tuple(latencies[spec] for spec in specs)

    def _compare(self, time_s: float | None) -> None:
        """Measure the anchors once on every member, in at most half of the time, and drop members that disagree."""
        if self._compared:
            return
        half_s = None if time_s is None else time_s / 2
        members = list(self._members)
        shares, reports = [ANCHORS] * len(members), [None] * len(members)
        every = self._each(lambda member, share, _: member.measure(share, time_s=half_s), shares, reports)
        measured = {m: latencies for m, latencies in zip(members, every, strict=True) if latencies is not None}
        medians = [median(one.median_ms for one in column) for column in zip(*measured.values(), strict=True)]
        ratios = {
            member: geometric_mean(one.median_ms / middle for one, middle in zip(latencies, medians, strict=True))
            for member, latencies in measured.items()
        }
        # for an even number of members, the median is halfway between the two in the middle
        factor = 2 if len(measured) % 2 == 0 else 1
        odd = {
            member
            for member, latencies in measured.items()
            if factor * abs(math.log(ratios[member])) > DISAGREES + max(map(_half_width, latencies))
        }
        dropped = odd
        if 2 * len(odd) >= len(measured):
            slowest = max(ratios.values())
            dropped = {member for member, ratio in ratios.items() if ratio < slowest * (1 - DISAGREES)}
        self.disagreements = tuple(
            Disagreement(latencies[0].device.name, ratios[member], used=member not in dropped)
            for member, latencies in measured.items()
            if member in odd | dropped
        )
        for name, ratio, used in self.disagreements:
            unused = "" if used else "; it is not used"
            LOG.warning("%s disagrees with its siblings: it takes %.3f times as long%s", name, ratio, unused)
        self._members = [member for member in self._members if member not in dropped]
        self._compared = True

    def _each(
        self, measure: Measure, shares: Sequence[Sequence[ModelSpec]], reports: Sequence[OnProgress | None]
    ) -> list[tuple[Latency, ...] | None]:
        """The latencies of each member's share, measured in parallel; None for a failed member, which is dropped."""
        members = list(self._members)
        latencies: list[tuple[Latency, ...] | None] = [None] * len(members)
        errors: dict[int, BaseException] = {}

        def run(index: int) -> None:
            try:
                latencies[index] = measure(members[index], shares[index], reports[index])
            except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
                errors[index] = error

        threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(len(members))]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except BaseException:  # Ctrl-C
            for member in members:
                member.stop()
            for thread in filter(threading.Thread.is_alive, threads):
                thread.join(STOP_S)
            raise
        for index, error in errors.items():
            if not isinstance(error, DeviceError) or len(errors) == len(members):
                raise error
            LOG.warning("a device of the pool is no longer used: %s", error)
            self._members.remove(members[index])
        return latencies


def _half_width(latency: Latency) -> float:
    return (latency.ci_high_ms - latency.ci_low_ms) / 2 / latency.median_ms


def _progress_of_each(members: int, on_progress: OnProgress | None, *, before: int) -> list[OnProgress | None]:
    """A callback for each member; all report the sum over the members."""
    if on_progress is None:
        return [None] * members
    done = [0] * members
    lock = threading.Lock()

    def report(member: int, count: int) -> None:
        with lock:
            done[member] = count
            on_progress(before + sum(done))

    return [partial(report, member) for member in range(members)]
