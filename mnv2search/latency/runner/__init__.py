"""Times networks on the machine where they run: a separate program that is also sent to other machines.

Nothing here imports anything of ours from outside this package, and everything runs on Python 3.8 with numpy and the
runtime alone, because that is all that a board or a phone may have.
"""

import os

from mnv2search.latency.runner.telemetry import switch_off

# Must run before any runtime is imported, here and on the machines that this package is copied to.
switch_off(os.environ)
