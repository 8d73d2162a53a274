"""Times networks on the machine where they run: a separate program that is also sent to other machines.

Nothing here imports anything of ours from outside this package, and everything runs on Python 3.8 with numpy and the
runtime alone, because that is all that a board or a phone may have.
"""

import os

# Disables the telemetry of runtimes and training libraries, unless the user's environment enables it. The libraries
# read these variables themselves, most of them once, at import, here and on the machines that this is copied to.
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
