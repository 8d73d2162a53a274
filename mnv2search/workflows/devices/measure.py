"""Measure networks on one device, or compare several devices side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Unpack

from mnv2search.display import Listing
from mnv2search.errors import Mnv2SearchError, OptionError
from mnv2search.latency.device_text import SEPARATOR, device_text
from mnv2search.latency.measuring.timing import Measurer, OnProgress
from mnv2search.latency.prediction.cache import LatencyCache
from mnv2search.latency.registry import Availability, available, local_devices, open_device
from mnv2search.latency.types import Latency, LatencyDevice
from mnv2search.results.devices import Measured
from mnv2search.spec.heads.outputs import answer_text
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import plan
from mnv2search.spec.space import SearchSpace
from mnv2search.study.deadline import seconds_of
from mnv2search.workflows.options import SPEC_DEFAULTS, SpecOptions, chosen_spec, specs_of, takes

OnNote = Callable[[str], None]


def devices() -> Listing[Availability]:
    """The devices to measure on, and why others are unavailable, as `mnv2search devices` lists them."""
    return Listing(available())


@takes(SpecOptions, SPEC_DEFAULTS)
def measure(
    specs: Sequence[ModelSpec | SearchSpace | str | Path] | ModelSpec | SearchSpace | str | Path,
    *,
    device: str | Sequence[str] = (),
    precision: str | None = None,
    all_devices: bool = False,
    time: float | str | None = None,
    on_progress: OnProgress | None = None,
    on_note: OnNote = lambda _: None,
    **options: Unpack[SpecOptions],
) -> Listing[Measured]:
    """Measure the latency of networks, all interleaved, as `mnv2search latency` does.

    Several devices that differ only in their hosts share the work. Other devices are compared: each network is
    measured on each of them, in turns, and a device that cannot be used or refuses a network is reported with the
    reason.

    Args:
        specs: networks or search spaces, their files or published names.
        device: device or devices to measure on, see `open_device`; none takes ``onnxruntime``.
        precision: precision of weights and activations; None takes that of each device.
        all_devices: compare every runtime on this machine in every precision that it supports, or in `precision`.
        time: no new visit begins after this time, in seconds or as text; None measures until every interval is
            narrow enough.
        on_progress: called after every visit with the number of finished latencies.
        on_note: called with messages for the user.
        options: see `SpecOptions`.

    Raises:
        OptionError: an option does not suit the networks or the devices.
        DeviceError: the only device cannot be used, or refuses a network.
    """
    if all_devices and device:
        raise OptionError("--device and --all-devices exclude each other", hint="leave one of them out")
    networks = [chosen_spec(one, **options) for one in specs_of(specs)]
    for network in networks:
        if text := answer_text(plan(network)):
            on_note(f"{network.name}: {text}")
    texts = local_devices(precision) if all_devices else _targets(device_text(device or "onnxruntime", precision))
    if len(texts) == 1:
        latencies = _measured(networks, texts[0], seconds_of(time), on_progress, on_note)
        return Listing(
            Measured(spec=spec, device=texts[0], latency=latency)
            for spec, latency in zip(networks, latencies, strict=True)
        )
    return _compared(networks, texts, seconds_of(time), on_progress, on_note)


def _targets(text: str) -> tuple[str, ...]:
    """The devices to compare; only one if they differ only in their hosts, and thus form a pool."""
    texts = [one.strip() for one in text.split(SEPARATOR)]
    return (text,) if len({one.partition("@")[0] for one in texts}) == 1 else tuple(dict.fromkeys(texts))


def _measured(
    networks: Sequence[ModelSpec], text: str, time_s: float | None, on_progress: OnProgress | None, on_note: OnNote
) -> tuple[Latency, ...]:
    cache = LatencyCache()
    with open_device(text) as opened:
        measurer = cache.measurer(opened)
        latencies = measurer.measure(networks, time_s=time_s, on_progress=on_progress)
        _save(cache, opened, measurer.reference_ms, on_note)
    return latencies


def _save(cache: LatencyCache, device: LatencyDevice, reference_ms: float | None, on_note: OnNote) -> None:
    if reference_ms is None:
        return
    try:
        cache.save(device.info, reference_ms=reference_ms, observations=None)
    except OSError as error:
        on_note(f"the latency cache cannot be written ({error})")


@dataclass(slots=True)
class _Row:
    """A network on a device, measured visit by visit until it is finished or there is a problem."""

    spec: ModelSpec
    device: str
    measurer: Measurer | None
    visits: Iterator[int]
    problem: str = ""

    def visit(self) -> bool:
        """Visit the network once; returns whether it is unfinished."""
        if self.measurer is None:
            return False
        self.measurer.pause()  # other devices have measured since the last visit
        try:
            return next(self.visits, None) is not None
        except Mnv2SearchError as error:
            self.problem = error.message
            return False

    @property
    def result(self) -> Measured:
        """The latency, or the problem."""
        measurer = None if self.problem else self.measurer
        latency = None if measurer is None else measurer.latency_of(self.spec)
        return Measured(spec=self.spec, device=self.device, latency=latency, problem=self.problem)


def _compared(
    networks: Sequence[ModelSpec],
    texts: Sequence[str],
    time_s: float | None,
    on_progress: OnProgress | None,
    on_note: OnNote,
) -> Listing[Measured]:
    """Measure every network on every device, one visit to each in turn."""
    if pinned := next((text for text in texts if "cores=" in text), None):
        raise OptionError(
            f"{pinned} is pinned to cores, which devices that are compared cannot be",
            hint="leave out cores, and pin the whole command: taskset -c 2 mnv2search latency ...",
        )
    cache, rows, used = LatencyCache(), list[_Row](), list[tuple[LatencyDevice, Measurer]]()
    with ExitStack() as stack:
        for text in texts:
            try:
                device = open_device(text)
            except (Mnv2SearchError, ImportError, metadata.PackageNotFoundError) as error:
                rows += [_Row(spec, text, None, iter(()), str(error)) for spec in networks]
                continue
            stack.push(device)
            measurer = cache.measurer(device)
            assert isinstance(measurer, Measurer)
            used.append((device, measurer))
            rows += [_Row(spec, text, measurer, measurer.rounds([spec], time_s=time_s)) for spec in networks]
        waiting = rows
        while waiting:
            waiting = [row for row in waiting if row.visit()]
            if on_progress is not None:
                on_progress(len(rows) - len(waiting))
        for device, measurer in used:
            _save(cache, device, measurer.reference_ms, on_note)
    return Listing(row.result for row in rows)
