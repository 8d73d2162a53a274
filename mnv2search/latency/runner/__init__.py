"""What times networks where they run: a program of its own that is also sent to other machines.

Nothing here imports anything of ours from outside this package, and everything runs on Python 3.8 with numpy and the
runtime alone, because that is all that a board or a phone may have.
"""

import os

from mnv2search.latency.runner.telemetry import switch_off

# Before any runtime can be imported, here and on the machines that this package is sent to.
switch_off(os.environ)
