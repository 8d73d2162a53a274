"""Devices by name: `name[:key=value,...][@scheme://host]`."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import metadata
from typing import cast

from mnv2search import plugins
from mnv2search.display import Displayed
from mnv2search.errors import Mnv2SearchError, OptionError
from mnv2search.latency.device_text import SEPARATOR, with_precision
from mnv2search.latency.measuring.pool import Pool
from mnv2search.latency.remote.device import RemoteDevice
from mnv2search.latency.remote.native import Native, NativeDevice
from mnv2search.latency.runtime import Runtime, RuntimeDevice
from mnv2search.latency.types import LatencyDevice

__all__ = ["Availability", "available", "device_effects", "local_devices", "open_device"]

LOCAL_HOSTS = ("", "local", "localhost")
# Options for the placement of a runtime on a machine, and the devices that take them.
PLACING = {
    "cores": "runtimes that load artifacts",
    "python": "other machines",
    "binary": "other machines",
    "config": "other machines over ssh",
    "work": "other machines",
    "server": "other machines over adb",
}


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Availability(Displayed):
    """Whether a device can be opened on this machine, with the version of its runtime, or the reason and a hint."""

    name: str
    version: str
    usable: bool
    reason: str


def open_device(text: str) -> LatencyDevice:
    """The device named by `text`; a context manager.

    >>> with open_device("simulated:seed=3") as device:
    ...     device.info.name
    'simulated:seed=3,noise=0'

    Args:
        text: ``onnxruntime``, ``litert:threads=2,precision=int8``, ``torch:fold=no@local``,
            ``onnxruntime:cores=big@ssh://pi@board:22``; several, joined by `` + ``, form a pool.

    Raises:
        UnknownNameError: unknown device, host or option.
        OptionError: an option has an unsupported value.
        MissingExtraError: a required package is not installed.
        DeviceError: the runtime, or the machine, cannot be used.
    """
    if SEPARATOR in text:
        return _pool(text.split(SEPARATOR))
    address, at, host = text.partition("@")
    if at and not host:
        raise OptionError(f"device {text!r} names no host after the @", hint="leave out the @, or write @ssh://HOST")
    name, colon, tail = address.partition(":")
    factory = plugins.load("device", name)
    options = _options(tail, text) if colon else {}
    own = inspect.signature(factory).parameters
    placing = {key: options.pop(key) for key in PLACING if key in options and key not in own}
    opened = factory(**plugins.checked_options(factory, options, owner=f"device {name}"))
    if host not in LOCAL_HOSTS:
        return _remote(opened, host, placing, text)
    if placing.keys() - {"cores"} or (placing and not isinstance(opened, Runtime)):
        wrong = sorted(placing)[-1]
        raise OptionError(
            f"device {text!r} has the option {wrong}, which is for {PLACING[wrong]}", hint="leave it out"
        )
    if not isinstance(opened, Runtime):
        return cast("LatencyDevice", opened)
    return RuntimeDevice(opened, cores=placing.get("cores", ""))


def device_effects(text: str) -> tuple[str, ...]:
    """The side effects of opening a device: plug-ins to load and connections to make.

    >>> device_effects("onnxruntime:threads=2")
    ()
    >>> device_effects("onnxruntime:config=mine@ssh://pi@board")
    ("connect to the device 'onnxruntime:config=mine@ssh://pi@board'",)
    """
    effects = []
    for part in map(str.strip, text.split(SEPARATOR)):
        address, _, host = part.partition("@")
        if address.partition(":")[0] not in plugins.BUILT_IN["device"]:
            effects.append(f"load the plug-in for the device {part!r}")
        if host not in LOCAL_HOSTS:
            effects.append(f"connect to the device {part!r}")
    return tuple(effects)


def _pool(texts: Sequence[str]) -> LatencyDevice:
    """A pool of the devices; if one cannot be opened, the others are closed."""
    with ExitStack() as stack:
        members: list[LatencyDevice] = []
        for text in texts:
            members.append(open_device(text.strip()))
            stack.push(members[-1])
        pool = Pool(members)
        stack.pop_all()
    return pool


def _remote(opened: object, host: str, placing: Mapping[str, str], text: str) -> LatencyDevice:
    scheme, separator, place = host.partition("://")
    if not separator:
        raise OptionError(
            f"device {text!r} is on the host {host!r}, which has no scheme", hint=f"write @ssh://{host}"
        )
    if not isinstance(opened, Runtime):
        raise OptionError(
            f"device {text!r}: this device runs in this process only", hint="leave out the host, or take a runtime"
        )
    native = _native(opened, placing, text)
    factory = plugins.load("host", scheme)
    own = {key: placing[key] for key in ("config", "work", "server") if key in placing}
    transport = factory(place, **plugins.checked_options(factory, own, owner=f"host {scheme}"))
    cores, options = placing.get("cores", ""), [f"{key}={value}" for key, value in placing.items()]
    if native is not None:
        return NativeDevice(opened, native, transport, binary=placing["binary"], cores=cores, options=options)
    return RemoteDevice(opened, transport, python=placing.get("python", "python3"), cores=cores, options=options)


def _native(runtime: Runtime, placing: Mapping[str, str], text: str) -> Native | None:
    if "binary" not in placing:
        return None
    if not runtime.native:
        raise OptionError(
            f"device {text!r} has the option binary, but no benchmark program of {runtime.name} is known",
            hint="leave it out, and name a Python on that machine with python=PATH",
        )
    if "python" in placing:
        raise OptionError(f"device {text!r} has both of the options binary and python", hint="leave out one of them")
    return cast("Native", pkgutil.resolve_name(runtime.native)())


def available() -> tuple[Availability, ...]:
    """The availability of every known device on this machine."""
    return tuple(_availability(name) for name in plugins.names("device"))


def local_devices(precision: str | None = None) -> tuple[str, ...]:
    """Texts that open every runtime in every precision that it supports, or in `precision`.

    A runtime that cannot be used is listed once, in its default precision. The simulated device is left out.
    """
    texts: list[str] = []
    for device in available():
        if device.name == "simulated":
            continue
        every = getattr(plugins.load("device", device.name), "precisions", ("fp32",)) if device.usable else ("fp32",)
        known = every if precision is None else [precision]
        texts += [device.name if one == "fp32" else with_precision(device.name, one) for one in known]
    return tuple(texts)


def _options(tail: str, text: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for pair in tail.split(","):
        key, equals, value = pair.partition("=")
        if not (key and equals and value):
            raise OptionError(f"device {text!r} has the option {pair!r}", hint="write key=value, such as threads=1")
        if key in options:
            raise OptionError(f"device {text!r} has the option {key} twice", hint="keep one of them")
        options[key] = value
    return options


def _availability(name: str) -> Availability:
    try:
        with open_device(name) as device:
            return Availability(name=name, version=device.info.runtime_version, usable=True, reason="")
    except (Mnv2SearchError, ImportError, metadata.PackageNotFoundError) as error:
        return Availability(name=name, version="", usable=False, reason=str(error))
