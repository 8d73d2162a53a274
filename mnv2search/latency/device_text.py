"""Texts that open devices, `name[:key=value,...][@scheme://host]`, and texts of several devices for a pool."""

from __future__ import annotations

from collections.abc import Sequence

from mnv2search.errors import OptionError

SEPARATOR = " + "
"""Separates the devices of a pool."""


def device_text(devices: str | Sequence[str], precision: str | None) -> str:
    """The text of one device or a pool, each device with the precision if one is given.

    Raises:
        OptionError: a device already has another precision.
    """
    texts = devices.split(SEPARATOR) if isinstance(devices, str) else devices
    return SEPARATOR.join(text if precision is None else with_precision(text, precision) for text in texts)


def with_precision(text: str, precision: str) -> str:
    """The text of a device with the option `precision`.

    >>> with_precision("litert", "int8"), with_precision("litert:threads=2@ssh://pi", "int8")
    ('litert:precision=int8', 'litert:threads=2,precision=int8@ssh://pi')

    Raises:
        OptionError: the text already has another precision.
    """
    address, at, host = text.partition("@")
    name, _, options = address.partition(":")
    known = [option for option in options.split(",") if option]
    named = [option for option in known if option.startswith("precision=")]
    if named and named != [f"precision={precision}"]:
        raise OptionError(f"--precision {precision} contradicts --device {text}", hint="leave out one of them")
    known += [] if named else [f"precision={precision}"]
    return f"{name}:{','.join(known)}{at}{host}"
