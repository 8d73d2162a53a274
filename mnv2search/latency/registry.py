"""Devices by name: `name[:key=value,...][@host]`."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from typing import cast

from mnv2search import plugins
from mnv2search.errors import Mnv2SearchError, OptionError
from mnv2search.latency.runtime import Runtime, RuntimeDevice
from mnv2search.latency.types import LatencyDevice

__all__ = ["Availability", "available", "open_device"]

LOCAL_HOSTS = ("", "local", "localhost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    """Whether a device can be used here.

    Attributes:
        name: that opens it.
        version: of its runtime; empty where it cannot be used.
        usable: whether it opens.
        reason: why it does not, and what would help.
    """

    name: str
    version: str
    usable: bool
    reason: str


def open_device(text: str) -> LatencyDevice:
    """The device that `text` names; a context manager.

    >>> with open_device("simulated:seed=3") as device:
    ...     device.info.name
    'simulated:seed=3,noise=0'

    Args:
        text: ``onnxruntime``, ``onnxruntime:threads=2``, ``torch:fold=no@local``.

    Raises:
        UnknownNameError: no such device, or it has no such option.
        OptionError: an option's value does not fit, or the host is another machine.
        MissingExtraError: a package it needs is not installed.
    """
    address, _, host = text.partition("@")
    name, colon, tail = address.partition(":")
    factory = plugins.load("device", name)
    options = _options(tail, text) if colon else {}
    made = factory(**plugins.checked_options(factory, options, owner=f"device {name}"))
    if host not in LOCAL_HOSTS:
        raise OptionError(
            f"device {text!r} is on the host {host!r}, but only this machine can be measured",
            hint=f"run the command there, or write {address}",
        )
    return RuntimeDevice(made) if isinstance(made, Runtime) else cast("LatencyDevice", made)


def available() -> tuple[Availability, ...]:
    """Every device that is known, and whether it opens here."""
    return tuple(_availability(name) for name in plugins.names("device"))


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
