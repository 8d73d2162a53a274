"""What every test starts from."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from mnv2search.cli.main import main
from mnv2search.latency.hosts import adb, ssh
from mnv2search.latency.remote import device as remote
from mnv2search.latency.remote import native
from mnv2search.latency.runtimes import ncnn

# How long an example takes says how busy the machine is.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's latency cache."""
    monkeypatch.setenv("MNV2SEARCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def _own_signals() -> Iterator[None]:
    """No test inherits a handler: a shell lets what it starts in the background ignore Ctrl-C."""
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)
    terminate = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, terminate)


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other machines and programs may take as long to answer as a busy machine needs."""
    for module, names in (
        (adb, ("COMMAND_S", "CONNECT_S")),
        (ssh, ("COMMAND_S", "CONNECT_S", "ALIVE_S", "END_S")),
        (remote, ("ANSWER_S",)),
        (native, ("ANSWER_S", "QUESTION_S")),
        (ncnn, ("PNNX_S",)),
    ):
        for name in names:
            monkeypatch.setattr(module, name, 600)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """PyTorch computes in one thread, so that sums do not depend on the number of processors."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line in an empty folder; a traceback would fail the test."""
    monkeypatch.chdir(tmp_path)

    def command(*words: str) -> Done:
        monkeypatch.setattr("sys.argv", ["mnv2search", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as leave:
            main()
        out, err = capsys.readouterr()
        code = leave.value.code
        return Done(code if isinstance(code, int) else 0, out, err)

    return command
