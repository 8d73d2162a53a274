"""ExecuTorch as a device, and against its own exporter."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from mnv2search.errors import DeviceError, OptionError
from mnv2search.latency.device import processors
from mnv2search.latency.registry import open_device
from mnv2search.latency.runner import identity
from mnv2search.latency.runtime import RuntimeDevice
from mnv2search.latency.runtimes.executorch import ExecuTorch
from mnv2search.latency.types import LatencyDevice
from mnv2search.lowering.types import Artifact
from mnv2search.testing.contracts import DeviceContract, network_of

OTHER_THREADS = """
from mnv2search.errors import DeviceError, OptionError
from mnv2search.latency.runtime import RuntimeDevice
from mnv2search.latency.runtimes.executorch import ExecuTorch
from mnv2search.testing.contracts import network_of

RuntimeDevice(ExecuTorch(threads=1)).prepare(network_of())
try:
    RuntimeDevice(ExecuTorch(threads=2)).prepare(network_of())
except DeviceError as error:
    print(error)
"""


@pytest.fixture(autouse=True)
def _executorch() -> None:
    if find_spec("executorch") is None:
        pytest.skip("ExecuTorch is not installed")


class TestExecuTorch(DeviceContract):
    @pytest.fixture(params=["executorch", "executorch:precision=int8"])
    def device(self, request: pytest.FixtureRequest) -> Iterator[LatencyDevice]:
        with open_device(request.param) as device:
            yield device


def test_half_precision_needs_arithmetic_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "computes_in_half", lambda: False)
    with pytest.raises(OptionError, match="fp16 on processors with arithmetic for it only"):
        open_device("executorch:precision=fp16")


def test_a_file_that_is_no_program_is_refused() -> None:
    device = RuntimeDevice(ExecuTorch())
    with pytest.raises(DeviceError, match="executorch refuses the network"):
        device.output(Artifact(files=(("model.pte", b"nothing of the kind" * 10),)), network_of())


@pytest.mark.skipif(processors() < 2, reason="there is one processor")
def test_another_number_of_threads_is_refused_while_pointers_to_the_pool_are_about() -> None:
    done = subprocess.run([sys.executable, "-c", OTHER_THREADS], capture_output=True, text=True, check=True)
    assert "this one has used 1, so it cannot use 2" in done.stdout
