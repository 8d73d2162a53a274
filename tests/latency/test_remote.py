"""A device at the other end of any transport, with a transport that breaks as told."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from fake_transport import FakeTransport

from mnv2search.errors import DeviceError
from mnv2search.latency.hosts.types import Completed, HostLostError
from mnv2search.latency.measuring.timing import REFERENCE, Measurer, Settings
from mnv2search.latency.remote.base import Patience
from mnv2search.latency.remote.device import RemoteDevice
from mnv2search.latency.runtimes.onnxruntime import OnnxRuntime
from mnv2search.latency.types import BurstRequest
from mnv2search.testing.contracts import network_of

HELLO = {
    "processor": "Fast CPU",
    "machine": "Board",
    "system": "Linux",
    "cores": 4,
    "governor": "performance",
    "temperature_c": 40.0,
    "version": "9.9",
    "pinned": "",
}
MS = 1_000_000


class Board(FakeTransport):
    """A transport and channel in one; `faults` are raised or answered in turn, None lets an answer through."""

    name = "fake://board"

    def __init__(self, faults: Sequence[object] = ()) -> None:
        super().__init__()
        self.faults = list(faults)
        self.asked: list[dict[str, Any]] = []
        self._answer = ""

    def start(self, command: Sequence[str]) -> Board:
        return self

    def run(self, command: Sequence[str], *, timeout_s: float) -> Completed:
        raise NotImplementedError

    def send(self, line: str) -> None:
        question = json.loads(line)
        self.asked.append(question)
        answer: object = HELLO
        if question["do"] == "bursts":
            answer = {"runs": [[[MS, MS]] * b["min_runs"] for b in question["bursts"]], "temperature_c": None}
            fault = self.faults.pop(0) if self.faults else None
            if isinstance(fault, Exception):
                raise fault
            answer = answer if fault is None else fault
        self._answer = answer if isinstance(answer, str) else json.dumps(answer)

    def receive(self, *, timeout_s: float) -> str:
        return self._answer

    def complaint(self) -> str:
        return ""


def device_on(board: Board, sleep: Callable[[float], None] = lambda _: None) -> RemoteDevice:
    return RemoteDevice(OnnxRuntime(), board, patience=Patience(sleep=sleep, clock=lambda: 0.0))


def asked(*resolutions: int) -> list[BurstRequest]:
    return [BurstRequest(network_of(resolution=r), 1.0, 0.0, 3) for r in resolutions]


def test_several_networks_take_one_question() -> None:
    board = Board()
    device_on(board).bursts(asked(64, 96, 64))
    assert [q["do"] for q in board.asked] == ["hello", "bursts"]
    assert len(board.asked[1]["bursts"]) == 3


def test_a_file_is_sent_once() -> None:
    board = Board()
    device = device_on(board)
    device.bursts(asked(64, 64))
    device.bursts(asked(64, 96))
    assert len([name for name in board.pushed if name.endswith("/model.onnx")]) == 2


def test_a_lost_machine_is_tried_again_ever_more_slowly(caplog: pytest.LogCaptureFixture) -> None:
    waits: list[float] = []
    board = Board([HostLostError("pulled the plug")] * 8)
    with caplog.at_level(logging.WARNING, "mnv2search.latency"):
        (runs,) = device_on(board, waits.append).bursts(asked(64))
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert runs == [(MS, MS)] * 3
    assert "lost fake://board: pulled the plug; trying again in 1 s" in caplog.text


def test_a_full_disk_over_there_is_called_one_and_not_waited_for_long(caplog: pytest.LogCaptureFixture) -> None:
    waits: list[float] = []
    full = {"error": "OSError: [Errno 28] No space left on device", "kind": "machine"}
    board = Board([full] * 20)
    patience = Patience(sleep=waits.append, clock=lambda: sum(waits))
    device = RemoteDevice(OnnxRuntime(), board, patience=patience)
    with (
        caplog.at_level(logging.WARNING, "mnv2search.latency"),
        pytest.raises(DeviceError, match="no room on fake://board for") as raised,
    ):
        device.bursts(asked(64))
    assert 60 <= sum(waits) <= 120
    assert "no room on fake://board" in caplog.text
    assert "lost" not in caplog.text
    assert "work=FOLDER" in raised.value.hint


def test_after_it_came_back_patience_begins_anew() -> None:
    waits: list[float] = []
    lost = HostLostError("gone")
    device = device_on(Board([lost, lost, None, lost]), waits.append)
    device.bursts(asked(64))
    device.bursts(asked(64))
    assert waits == [1.0, 2.0, 1.0]


@pytest.mark.parametrize(
    "fault",
    [{"error": "OSError: no space left on device", "kind": "machine"}, "half an ans", "[1]"],
    ids=["full disk", "no JSON", "no object"],
)
def test_an_answer_that_is_none_is_worth_another_try(fault: object) -> None:
    board = Board([fault])
    assert device_on(board).bursts(asked(64)) == [[(MS, MS)] * 3]
    assert board.connected == 2


def test_a_network_that_the_runtime_refuses_is_not_tried_again() -> None:
    board = Board([{"error": "no such operator", "kind": "engine"}])
    with pytest.raises(DeviceError, match=r"refuses one of contract: no such operator"):
        device_on(board).bursts(asked(64))
    assert board.connected == 1


def test_an_answer_without_its_content_is_an_error() -> None:
    with pytest.raises(DeviceError, match="fake://board answered without runs for contract"):
        device_on(Board([{"temperature_c": 40.0}])).bursts(asked(64))
    with pytest.raises(DeviceError, match="fake://board answered without steps for contract"):
        device_on(Board()).step_times(network_of(resolution=64), runs=3)


def test_the_loop_visits_many_networks_in_a_round_trip() -> None:
    board = Board()
    specs = [network_of(resolution=r) for r in (64, 96, 128)]
    Measurer(device_on(board), Settings(min_visits=4, max_visits=4)).measure(specs)
    bursts = [len(q["bursts"]) for q in board.asked if q["do"] == "bursts"]
    assert bursts == [7, 6, 6, 6]


def test_the_reference_is_measured_beside_every_network() -> None:
    board = Board()
    Measurer(device_on(board), Settings(min_visits=1, max_visits=1)).measure([network_of()])
    sizes = [b["settings"]["size"] for b in board.asked[1]["bursts"]]
    assert sizes == [list(REFERENCE.size), [96, 96], list(REFERENCE.size)]


def test_closing_ends_the_channel_and_the_connection() -> None:
    board = Board()
    with device_on(board):
        pass
    assert board.closed == 2


def test_a_closed_device_does_not_connect_again() -> None:
    board = Board()
    with device_on(board) as device:
        pass
    with pytest.raises(DeviceError, match="is closed"):
        device.bursts(asked(64))
    assert board.connected == 1


def test_an_interruption_passes_through() -> None:
    board = Board([_Interrupt()])
    with pytest.raises(_Interrupt):
        device_on(board).bursts(asked(64))


class _Interrupt(Exception):
    """Stands for a KeyboardInterrupt, which pytest would take for its own."""
