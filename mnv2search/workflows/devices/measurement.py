"""Networks measured side by side, and predictions of networks compared with their measurements."""

from __future__ import annotations

import random
from collections.abc import Sequence

from mnv2search.errors import OptionError
from mnv2search.latency.measuring.timing import OnProgress, Settings
from mnv2search.latency.prediction.cache import LatencyCache
from mnv2search.latency.prediction.predictor import LatencyPredictor
from mnv2search.latency.registry import open_device
from mnv2search.latency.types import Latency
from mnv2search.results.devices import Audit, Audited
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import plan
from mnv2search.spec.space import SearchSpace, random_pick, resolve
from mnv2search.spec.yaml.codec import load_space


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


CLOSENESS = Settings(half_width=0.015, min_visits=12, max_visits=60)
# Draws for each network that is asked for, before a space counts as exhausted.
DRAWS = 50


def audit(
    *,
    device: str,
    space: str,
    count: int,
    seed: int = 0,
    time_s: float | None = None,
    on_progress: OnProgress | None = None,
) -> Audit:
    """Predict random networks of a space from earlier measurements on the device, then measure them side by side.

    At most `count` networks are taken: a space may have fewer that were not learned from. No visit begins after
    `time_s`; `on_progress` is called after every visit with the number of finished networks.

    Raises:
        OptionError: the space has no network that was not learned from.
        DeviceError: the device cannot be used, or refuses a network.
    """
    loaded, cache = load_space(space), LatencyCache()
    with open_device(device) as opened:
        predictor = cache.predictor(opened)
        specs = unseen(loaded, predictor, count=count, seed=seed)
        predicted = [predictor.predict(spec) for spec in specs]
        beyond = predictor.extrapolates([plan(spec) for spec in specs])
        measurer = cache.measurer(opened, CLOSENESS)
        measured = measurer.measure(specs, time_s=time_s, on_progress=on_progress)
        info = opened.info
    items = [
        Audited(spec=s, predicted=p, measured=m, extrapolates=e)
        for s, p, m, e in zip(specs, predicted, measured, beyond, strict=True)
    ]
    return Audit(device=info, space=loaded.name, learned_from=len(predictor.observations), items=tuple(items))


def unseen(space: SearchSpace, predictor: LatencyPredictor, *, count: int, seed: int) -> Sequence[ModelSpec]:
    """Random networks of a space that the predictor has not learned from.

    Raises:
        OptionError: there is none.
    """
    generator = random.Random(f"audit {seed}")
    specs: dict[ModelSpec, None] = {}
    for _ in range(DRAWS * count):
        spec = resolve(space, random_pick(space, generator))
        if not predictor.has_seen(plan(spec)):
            specs[spec] = None
        if len(specs) == count:
            break
    if not specs:
        raise OptionError(f"every network of {space.name} was learned from", hint="audit another space")
    return tuple(specs)
