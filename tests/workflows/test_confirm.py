"""The front against the runtime's own converter."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from mnv2search.errors import DeviceError
from mnv2search.export.arrays import layer_arrays, set_arbitrary
from mnv2search.latency.registry import open_device
from mnv2search.latency.runner.engine import image
from mnv2search.latency.runtime import Runtime
from mnv2search.latency.types import BurstRequest, DeviceInfo, Latency
from mnv2search.lowering.types import Artifact, NetworkArrays
from mnv2search.model.build import build
from mnv2search.results.checks import CONFIRMATION, Confirmation, write_confirmations
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import Plan, plan
from mnv2search.spec.yaml.codec import load_spec
from mnv2search.testing.contracts import network_of
from mnv2search.workflows.search.checks.confirm import (
    can_confirm,
    confirm,
    confirm_front,
    confirmation_line,
    disagreements,
)


class TwoWriters(Runtime):
    """Writes a number: 1 for our artifact, 2 for the converter's."""

    name = "two"
    engine = "none"
    converter = "the other writer 1.0"

    def lower(self, network: Plan, weights: NetworkArrays | None = None) -> Artifact:
        return Artifact(files=(("model", b"1"),))

    def convert(self, network: Plan, module: nn.Module) -> Artifact:
        return Artifact(files=(("model", b"2"),))


class Paper:
    """Answers as the PyTorch network does, times `factor` for our artifact, whose runs take `ms` to the other's 1."""

    round_trip = 1

    def __init__(self, *, factor: float = 1.0, ms: float = 1.0) -> None:
        self.runtime: Runtime = TwoWriters()
        self.info = DeviceInfo(name="paper", hardware="paper", runtime="two", runtime_version="1")
        self._factor, self._ms = factor, ms

    def bursts(self, requests: Sequence[BurstRequest]) -> list[list[tuple[int, int]]]:
        raise NotImplementedError

    def measure(self, spec: ModelSpec) -> Latency:
        raise NotImplementedError

    def __enter__(self) -> Paper:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def output(self, artifact: Artifact, spec: ModelSpec) -> NDArray[np.float32]:
        model = build(spec, seed=0).eval()
        set_arbitrary(model)
        with torch.no_grad():
            answer = np.asarray(model(torch.from_numpy(image(1, spec.resolution))).numpy(), np.float32)
        return np.float32(self._factor) * answer if artifact.files[0][1] == b"1" else answer

    def time_artifacts(self, bursts: Sequence[tuple[Artifact, BurstRequest]]) -> list[list[tuple[int, int]]]:
        ns = {b"1": round(self._ms * 1e6), b"2": 1_000_000}
        return [[(ns[a.files[0][1]], ns[a.files[0][1]])] * request.min_runs for a, request in bursts]


def test_equal_artifacts_agree() -> None:
    (found,) = confirm(Paper(), [network_of()])
    assert (found.answers_agree, found.speeds_agree) == (True, True)
    assert (found.difference, found.ratio, found.converter) == (0.0, 1.0, "the other writer 1.0")


def test_a_wrong_answer_is_found() -> None:
    (found,) = confirm(Paper(factor=1.01), [network_of()])
    assert found.difference == pytest.approx(0.01, rel=1e-3)
    assert not found.answers_agree
    assert found.converter_difference == 0.0


def test_an_answer_that_is_no_number_never_agrees() -> None:
    (found,) = confirm(Paper(factor=float("nan")), [network_of()])
    assert not found.answers_agree


def test_a_slower_artifact_is_found() -> None:
    (found,) = confirm(Paper(ms=1.1), [network_of()])
    assert found.ratio == pytest.approx(1.1)
    assert not found.speeds_agree


def test_progress_is_told_after_every_network() -> None:
    told: list[int] = []
    confirm(Paper(), [network_of(), network_of(resolution=64)], on_progress=told.append)
    assert told == [1, 2]


def test_the_line_counts_those_that_agree() -> None:
    good, bad = confirm(Paper(), [network_of()]), confirm(Paper(factor=1.01), [network_of()])
    line = confirmation_line([*good, *bad])
    assert line.startswith(
        "1 of 2 agree with the files of the other writer 1.0: outputs (largest difference from PyTorch 0.01,"
    )


def test_each_network_that_does_not_agree_is_named_with_how_far_it_is_off() -> None:
    good, bad = confirm(Paper(), [network_of()]), confirm(Paper(factor=1.01, ms=1.1), [network_of(resolution=64)])
    answer, latency = disagreements([*good, *bad])
    assert answer.startswith(
        f"{bad[0].name} differs in its outputs: relative difference from PyTorch 0.01 in our file"
    )
    assert answer.endswith("0.0001 is accepted")
    assert "1.100 ± 0.000 times as long" in latency


def test_the_converter_is_announced_before_it_begins(tmp_path: Path) -> None:
    told: list[str | int] = []
    found = confirm_front(
        tmp_path, [network_of()], device="onnxruntime", on_begin=told.append, on_progress=told.append
    )
    assert found is not None
    assert told == [found[0].converter, 1]
    assert (tmp_path / CONFIRMATION).exists()


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    found = confirm(Paper(), [network_of()])
    write_confirmations(tmp_path / CONFIRMATION, found)
    (row,) = json.loads((tmp_path / CONFIRMATION).read_text(encoding="utf-8"))
    kept = {key: value for key, value in row.items() if key not in ("answers_agree", "speeds_agree")}
    assert Confirmation(**kept) == found[0]


def test_a_device_without_artifacts_cannot_confirm(tmp_path: Path) -> None:
    with open_device("simulated") as device:
        assert not can_confirm(device)
        with pytest.raises(DeviceError, match="runs no artifacts"):
            confirm(device, [network_of()])
    assert confirm_front(tmp_path, [network_of()], device="simulated") is None


@pytest.mark.parametrize("repeats", [1, 3])
def test_arbitrary_weights_keep_the_answer_at_unit_scale(repeats: int) -> None:
    model = build(network_of(repeats=repeats), seed=0).eval()
    set_arbitrary(model)
    with torch.no_grad():
        answer = model(torch.from_numpy(image(1, 96)))
    assert 0.01 < float(answer.std()) < 100
    assert len(layer_arrays(model)) == sum(len(unit.layers) for unit in plan(model.spec).units)


@pytest.mark.parametrize("name", ["ssdlite_mobilenet_v2", "deeplabv3_mobilenet_v2"])
def test_converters_trace_dense_networks_without_a_word(name: str) -> None:
    """Warnings are errors here: none of what the tracer has to say of constant shapes is for a user."""
    spec = replace(load_spec(name), width=0.1, resolution=97)
    with open_device("onnxruntime") as device:
        (found,) = confirm(device, [spec])
    assert found.answers_agree
