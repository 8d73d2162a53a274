"""A separate program that times networks on the machine where they run; it is also sent to other machines.

This package imports nothing else of mnv2search, and needs only Python 3.8, numpy and the runtime, because a board or
a phone may have nothing more.
"""

import os

# Disables the telemetry of runtimes and training libraries, unless the user's environment enables it. The libraries
# read these variables themselves, usually at import, on this machine and on others that run this program.
OFF = {
    # Otherwise, ONNX Runtime 1.32 stores a device id in ~/.cache/Microsoft and reports to events.data.microsoft.com.
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # Otherwise, `datasets` 5.2 reports every local parquet file that is opened to the Hugging Face hub.
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    # Source: https://consoledonottrack.com
    "DO_NOT_TRACK": "1",
}
for name, value in OFF.items():
    os.environ.setdefault(name, value)
