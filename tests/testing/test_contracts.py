"""Our own plug-ins keep to the contracts that others are held to."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from mnv2search import plugins
from mnv2search.accuracy.evaluator import AccuracyEvaluator
from mnv2search.accuracy.registry import open_evaluator
from mnv2search.export import Exporter
from mnv2search.latency.registry import open_device
from mnv2search.latency.types import LatencyDevice
from mnv2search.testing.contracts import DeviceContract, EvaluatorContract, ExporterContract


@pytest.mark.parametrize("device", ["simulated:seed=3", "onnxruntime", "torch:fold=no"], indirect=True)
class TestDevices(DeviceContract):
    @pytest.fixture
    def device(self, request: pytest.FixtureRequest) -> Iterator[LatencyDevice]:
        with open_device(request.param) as device:
            yield device


class TestImagenet(EvaluatorContract):
    @pytest.fixture
    def evaluator(self) -> AccuracyEvaluator:
        return open_evaluator("imagenet")


class TestCommand(EvaluatorContract):
    @pytest.fixture
    def evaluator(self, tmp_path: Path) -> AccuracyEvaluator:
        program = tmp_path / "program.py"
        program.write_text(f"print({json.dumps(0.5)})")
        return open_evaluator(f"command:{sys.executable} {program} {{spec}}")


@pytest.mark.parametrize("exporter", ["pt", "pt2", "onnx", "py"], indirect=True)
class TestExporters(ExporterContract):
    @pytest.fixture
    def exporter(self, request: pytest.FixtureRequest) -> Exporter:
        return cast(Exporter, plugins.load("exporter", request.param)())
