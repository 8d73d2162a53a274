"""The count of fvcore, whatever class of warning torch announces its deprecations by."""

from __future__ import annotations

import subprocess
import sys

# As torch 2.14 has it: what torch 2.13 says by a DeprecationWarning is a FutureWarning.
COUNT = """
import warnings

real = warnings.warn

def warn(message, category=None, stacklevel=1, **options):
    is_of_jit = str(message).startswith("`torch.jit.")
    real(message, FutureWarning if is_of_jit else category, stacklevel + 1, **options)

warnings.warn = warn
from mnv2search.model.build import build
from mnv2search.model.fvcore_count import fvcore_madds
from mnv2search.spec.model_spec import BlockSpec, ModelSpec

spec = ModelSpec(name="one", blocks=(BlockSpec(channels=16, expansion=1),), resolution=32)
print(fvcore_madds(build(spec, seed=0)))
"""


def test_no_future_warning_of_torch_gets_through() -> None:
    command = [sys.executable, "-W", "error::FutureWarning", "-c", COUNT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("6948864", "")
