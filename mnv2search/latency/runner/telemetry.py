"""Usage reports of the libraries that measure and train: off, unless the user's own environment says otherwise."""

from __future__ import annotations

from typing import MutableMapping

__all__ = ["OFF", "switch_off"]

# Read by the library itself, most of them once, when it is imported.
OFF = {
    # ONNX Runtime 1.32 otherwise keeps a device id under ~/.cache/Microsoft and reports to events.data.microsoft.com.
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # `datasets` 5.2 otherwise tells the hub of every local parquet file that is opened.
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    # Source: https://consoledonottrack.com
    "DO_NOT_TRACK": "1",
}


def switch_off(environment: MutableMapping[str, str]) -> None:
    """Set the variables that switch reports off, for this process and the programs that it starts.

    >>> environment = {"DO_NOT_TRACK": "0"}
    >>> switch_off(environment)
    >>> environment["ORT_DISABLE_TELEMETRY"], environment["DO_NOT_TRACK"]
    ('1', '0')
    """
    for name, value in OFF.items():
        environment.setdefault(name, value)
