"""Telemetry of runtimes and training libraries, disabled unless the user's environment variables enable it."""

from __future__ import annotations

from typing import MutableMapping

__all__ = ["OFF", "switch_off"]

# The libraries read these variables themselves, most of them once, at import.
OFF = {
    # Otherwise, ONNX Runtime 1.32 stores a device id in ~/.cache/Microsoft and reports to events.data.microsoft.com.
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # Otherwise, `datasets` 5.2 reports every local parquet file that is opened to the Hugging Face hub.
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    # Source: https://consoledonottrack.com
    "DO_NOT_TRACK": "1",
}


def switch_off(environment: MutableMapping[str, str]) -> None:
    """Set the variables that disable telemetry, for this process and the programs that it starts.

    >>> environment = {"DO_NOT_TRACK": "0"}
    >>> switch_off(environment)
    >>> environment["ORT_DISABLE_TELEMETRY"], environment["DO_NOT_TRACK"]
    ('1', '0')
    """
    for name, value in OFF.items():
        environment.setdefault(name, value)
