"""The cache of measurements of earlier processes, one file per device in the user's cache folder."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

from msgspec import Meta

from mnv2search.atomic import remove_leftovers, replacing
from mnv2search.caches import cache_folder
from mnv2search.latency.measuring.pool import Pool, PoolMeasurer
from mnv2search.latency.measuring.throttling import Cooler
from mnv2search.latency.measuring.timing import Measurer, Settings
from mnv2search.latency.prediction.features import NAMES
from mnv2search.latency.prediction.predictor import LatencyPredictor, Observation
from mnv2search.latency.types import DeviceInfo, LatencyDevice
from mnv2search.untrusted import UnsafeFileError, json_as, read_bytes

FORMAT = 1
REFERENCES = 32
MAX_BYTES = 1 << 26
Milliseconds = Annotated[float, Meta(gt=1e-9, lt=1e9)]
# Largest plausible value of a feature; features are counts, or millions of operations or bytes.
Amount = Annotated[float, Meta(ge=0, lt=1e12)]
log = logging.getLogger(__name__)


class Memory(NamedTuple):
    """The measurements on a device: the reference's level in each process, oldest first, and measured networks."""

    reference_ms: tuple[float, ...] = ()
    observations: tuple[Observation, ...] = ()


class LatencyCache:
    """A store of measurements from process to process; a damaged file is set aside with a warning in the log.

    The folder is created at the first save; None takes `default_folder`.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or default_folder(os.environ)

    def path_of(self, device: DeviceInfo) -> Path:
        """The file of a device."""
        return self._folder / f"{device.fingerprint}.json"

    def load(self, device: DeviceInfo) -> Memory:
        """The measurements of earlier processes on the same device (hardware, runtime, version, threads, batch)."""
        path = self.path_of(device)
        try:
            return _decoded(read_bytes(path, max_bytes=MAX_BYTES))
        except OSError:
            return Memory()
        except UnsafeFileError as error:
            _set_aside(path, error)
            return Memory()

    def save(
        self, device: DeviceInfo, *, reference_ms: float | None, observations: Sequence[Observation] | None
    ) -> None:
        """Add the reference level of this process, and replace the stored observations.

        `reference_ms` comes from `Measurer.reference_ms`; `observations` come from `LatencyPredictor.observations`,
        which includes the earlier ones. None leaves the stored value unchanged.
        """
        known = self.load(device)
        levels = (*known.reference_ms, *(() if reference_ms is None else (reference_ms,)))[-REFERENCES:]
        document = {
            "format": FORMAT,
            "features": NAMES,
            "device": asdict(device),
            "reference_ms": levels,
            "observations": [list(o) for o in (known.observations if observations is None else observations)],
        }
        with replacing(self.path_of(device)) as temporary:
            temporary.write_text(json.dumps(document), encoding="utf-8")
        remove_leftovers(self._folder)

    def measurer(self, device: LatencyDevice, settings: Settings | None = None) -> Measurer | PoolMeasurer:
        """A measurer with the reference levels of earlier processes; on other machines, it pauses to cool."""
        if isinstance(device, Pool):
            return PoolMeasurer([self._of_one(member, settings) for member in device.members])
        return self._of_one(device, settings)

    def _of_one(self, device: LatencyDevice, settings: Settings | None) -> Measurer:
        info = device.info
        cooler = None if info.host == "local" else Cooler(name=info.host)
        return Measurer(device, settings, earlier_reference_ms=self.load(info).reference_ms, cooler=cooler)

    def predictor(self, device: LatencyDevice) -> LatencyPredictor:
        """A predictor with the networks measured by earlier processes."""
        return LatencyPredictor(device.info, earlier=self.load(device.info).observations)


def default_folder(environment: Mapping[str, str]) -> Path:
    """The folder of measured latencies in the cache folder.

    >>> default_folder({"XDG_CACHE_HOME": "/var/cache"}).as_posix()
    '/var/cache/mnv2search/latency'
    """
    return cache_folder(environment) / "latency"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    format: int
    features: tuple[str, ...]
    reference_ms: tuple[Milliseconds, ...]
    observations: tuple[tuple[tuple[Amount, ...], Milliseconds], ...]


def _decoded(content: bytes) -> Memory:
    """The content of a cache file; empty if its features or format are those of another version."""
    document = json_as(_Document, content)
    if document.format != FORMAT:
        return Memory()
    observations: tuple[Observation, ...] = ()
    if document.features == NAMES:
        observations = tuple(Observation(*one) for one in document.observations)
        if any(len(one.features) != len(NAMES) for one in observations):
            raise UnsafeFileError(f"an observation does not have {len(NAMES)} features")
    return Memory(reference_ms=document.reference_ms, observations=observations)


def _set_aside(path: Path, error: UnsafeFileError) -> None:
    aside = path.with_name(f"{path.name}.damaged")
    try:
        path.replace(aside)
    except OSError:
        aside = path
    log.warning("the latency cache is damaged (%s): %s is not used, and a new cache is started", error, aside)
