"""Profile a device, and audit its latency predictions."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from time import monotonic

from mnv2search.errors import OptionError
from mnv2search.latency.device_text import device_text
from mnv2search.latency.measuring.timing import OnProgress, Settings
from mnv2search.latency.prediction.cache import LatencyCache
from mnv2search.latency.prediction.features import FeatureTable
from mnv2search.latency.prediction.predictor import LatencyPredictor, most_informative
from mnv2search.latency.registry import open_device
from mnv2search.latency.types import Latency, LatencyDevice
from mnv2search.results.devices import Audit, Audited, Profile
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import plan
from mnv2search.spec.space import SearchSpace, random_pick, resolve
from mnv2search.spec.yaml.codec import load_space
from mnv2search.study.deadline import seconds_of

# Random networks of each space from which the networks to measure are chosen.
DRAWN = 400
# Networks chosen at a time and measured side by side, so that a slowdown affects all of them alike.
BATCH = 12
# Share of the time for measurements; the rest is for saving and for networks slower than the first ones.
USED = 0.97
CLOSENESS = Settings(half_width=0.02, min_visits=8, max_visits=24)
# A measurement with a larger half-width is not used.
VAGUE = 0.1
# Maximum number of networks that the predictor keeps.
MOST_NETWORKS = 600


def profile_device(
    device: str | Sequence[str] = "onnxruntime",
    *,
    precision: str | None = None,
    space: Sequence[str] | str = ("mnv2",),
    time: float | str = 300.0,
    refresh: bool = False,
    seed: int = 0,
    on_progress: Callable[[float, int], None] = lambda _share, _measured: None,
    clock: Callable[[], float] = monotonic,
) -> Profile:
    """Measure networks of spaces, and cache the results for later predictions on the device.

    Args:
        device: device or equal devices; see `open_device`.
        precision: precision of weights and activations; None takes that of the device.
        space: search spaces whose networks are to be predicted.
        time: wall time, in seconds or as text.
        refresh: discard earlier measurements.
        seed: random seed of the networks.
        on_progress: called with the share of the time that has passed, and the number of measured networks.
        clock: returns the time in s.

    Raises:
        OptionError: no space is given.
        DeviceError: the device cannot be used.
        OSError: the cache cannot be written; the measurements are lost.
    """
    loaded = [load_space(name) for name in ([space] if isinstance(space, str) else space)]
    time_s, cache = seconds_of(time) or 0.0, LatencyCache()
    with open_device(device_text(device, precision)) as opened:
        earlier = () if refresh else cache.load(opened.info).observations
        predictor = LatencyPredictor(opened.info, earlier=earlier)
        measured, elapsed_s, reference_ms = build_profile(
            opened, predictor, loaded, cache=cache, time_s=time_s, seed=seed, on_progress=on_progress, clock=clock
        )
        cache.save(opened.info, reference_ms=reference_ms, observations=predictor.observations)
        info = opened.info
    kept = len(predictor.observations) - len(measured)
    return Profile(
        device=info,
        spaces=tuple(space.name for space in loaded),
        measured=len(measured),
        kept=max(kept, 0),
        dropped_earlier=bool(earlier) and kept <= 0,
        error=predictor.error,
        elapsed_s=elapsed_s,
    )


def build_profile(
    device: LatencyDevice,
    predictor: LatencyPredictor,
    spaces: Sequence[SearchSpace],
    *,
    cache: LatencyCache,
    time_s: float,
    seed: int = 0,
    without: Collection[ModelSpec] = (),
    on_progress: Callable[[float, int], None] = lambda _share, _measured: None,
    clock: Callable[[], float] = monotonic,
) -> tuple[list[tuple[ModelSpec, float]], float, float | None]:
    """Fit the predictor to measured batches of the networks that are most informative for it.

    Returns (network, latency in ms) of each measured network, the wall time in s, and the level of the reference in
    ms. Networks in `without`, such as a test set, are not measured.
    """
    if not spaces:
        raise OptionError("there is no space to profile the device for", hint="give --space, such as mnv2")
    begin = clock()
    candidates = [spec for spec in candidates_of(spaces, seed=seed) if spec not in without]
    plans = [plan(spec) for spec in candidates]
    features = FeatureTable().matrix_of(plans)
    measurer = cache.measurer(device, CLOSENESS)
    measured: list[tuple[ModelSpec, float]] = []
    taken: set[int] = set()
    while clock() - begin < USED * time_s and len(measured) < min(MOST_NETWORKS, len(candidates)):
        ms, _ = predictor.predict_many(plans)
        shares = features / ms[:, None]
        batch = most_informative(shares, known=sorted(taken), count=BATCH, scale=predictor.scale)
        left_s = USED * time_s - (clock() - begin)
        specs = [candidates[i] for i in batch]
        latencies = measurer.measure(specs, time_s=max(left_s, 0.0))
        taken |= set(batch)
        measured += [(spec, m.median_ms) for spec, m in zip(specs, latencies, strict=True) if _is_known(m)]
        predictor.fit(measured)
        on_progress(min(1.0, (clock() - begin) / time_s), len(measured))
    return measured, clock() - begin, measurer.reference_ms


def _is_known(latency: Latency) -> bool:
    return latency.ci_high_ms <= (1 + VAGUE) * latency.median_ms


def candidates_of(spaces: Sequence[SearchSpace], *, seed: int) -> list[ModelSpec]:
    """Distinct random networks of each space."""
    generator = random.Random(seed)
    drawn = [resolve(space, random_pick(space, generator)) for space in spaces for _ in range(DRAWN)]
    return list(dict.fromkeys(drawn))


AUDIT_CLOSENESS = Settings(half_width=0.015, min_visits=12, max_visits=60)
# Draws for each requested network, before a space counts as exhausted.
DRAWS = 50


def audit_device(
    device: str | Sequence[str] = "onnxruntime",
    *,
    precision: str | None = None,
    space: str = "mnv2",
    networks: int = 30,
    seed: int = 0,
    time: float | str | None = None,
    on_progress: OnProgress | None = None,
) -> Audit:
    """Predict random networks of a space from earlier measurements on the device, then measure them side by side.

    Args:
        device: device or equal devices; see `open_device`.
        precision: precision of weights and activations; None takes that of the device.
        space: search space that the networks are drawn from.
        networks: number of networks; the predictor was fitted to none of them.
        seed: random seed of the networks.
        time: no visit begins after this time, in seconds or as text.
        on_progress: called after every visit with the number of finished networks.

    Raises:
        OptionError: the predictor was fitted to every network of the space.
        DeviceError: the device cannot be used, or refuses a network.
    """
    loaded, cache = load_space(space), LatencyCache()
    with open_device(device_text(device, precision)) as opened:
        predictor = cache.predictor(opened)
        specs = unseen(loaded, predictor, count=networks, seed=seed)
        predicted = [predictor.predict(spec) for spec in specs]
        beyond = predictor.extrapolates([plan(spec) for spec in specs])
        measurer = cache.measurer(opened, AUDIT_CLOSENESS)
        measured = measurer.measure(specs, time_s=seconds_of(time), on_progress=on_progress)
        info = opened.info
    items = [
        Audited(spec=s, predicted=p, measured=m, extrapolates=e)
        for s, p, m, e in zip(specs, predicted, measured, beyond, strict=True)
    ]
    return Audit(device=info, space=loaded.name, learned_from=len(predictor.observations), items=tuple(items))


def unseen(space: SearchSpace, predictor: LatencyPredictor, *, count: int, seed: int) -> Sequence[ModelSpec]:
    """Random networks of a space that the predictor was not fitted to."""
    generator = random.Random(f"audit {seed}")
    specs: dict[ModelSpec, None] = {}
    for _ in range(DRAWS * count):
        spec = resolve(space, random_pick(space, generator))
        if not predictor.has_seen(plan(spec)):
            specs[spec] = None
        if len(specs) == count:
            break
    if not specs:
        raise OptionError(
            f"the predictor was already fitted to every network of {space.name}", hint="audit another space"
        )
    return tuple(specs)
