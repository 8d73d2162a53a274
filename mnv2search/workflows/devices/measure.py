"""Networks measured side by side on one device, with the cache of earlier processes."""

from __future__ import annotations

from collections.abc import Sequence

from mnv2search.latency.measuring.timing import OnProgress
from mnv2search.latency.prediction.cache import LatencyCache
from mnv2search.latency.registry import open_device
from mnv2search.latency.types import Latency
from mnv2search.spec.model_spec import ModelSpec


def measure_together(
    specs: Sequence[ModelSpec], *, device: str, time_s: float | None = None, on_progress: OnProgress | None = None
) -> tuple[tuple[Latency, ...], tuple[str, ...]]:
    """The latency of every network from one interleaved run, and notes on faults that do not affect it.

    No new visit begins after `time_s`; None measures until every interval is narrow enough.

    Raises:
        DeviceError: the device refuses a network.
    """
    cache = LatencyCache()
    with open_device(device) as opened:
        measurer = cache.measurer(opened)
        latencies = measurer.measure(specs, time_s=time_s, on_progress=on_progress)
        try:
            cache.save(opened.info, reference_ms=measurer.reference_ms, observations=None)
        except OSError as error:
            return latencies, (f"the latency cache cannot be written ({error})",)
    return latencies, ()
