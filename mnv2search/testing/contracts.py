"""Contract tests of plug-ins, as pytest classes: subclass one, define its fixture, and run pytest.

To test your own latency device:

    class TestMine(DeviceContract):
        @pytest.fixture
        def device(self):
            with MyDevice() as device:
                yield device
"""

from __future__ import annotations

from pathlib import Path

import pytest

from mnv2search.accuracy.evaluator import AccuracyEvaluator
from mnv2search.evaluation import no_report
from mnv2search.export import Exporter
from mnv2search.latency.measuring.timing import Measurer
from mnv2search.latency.registry import open_device
from mnv2search.latency.types import BurstRequest, LatencyDevice, RunnerDevice
from mnv2search.spec.model_spec import BlockSpec, Classifier, ModelSpec

# Short, since the compared latencies differ by a factor of ten.
TIME_S = 1.0


def network_of(*, width: float = 0.35, resolution: int = 96, repeats: int = 1) -> ModelSpec:
    """A small network of the family with a total stride of 32.

    >>> network_of().resolution
    96
    """
    strides = ((1, 16, 1), (6, 24, 2), (6, 32, 2), (6, 64, 2), (6, 160, 2))
    blocks = tuple(BlockSpec(expansion=t, channels=c, repeats=repeats, stride=s) for t, c, s in strides)
    return ModelSpec(name="contract", blocks=blocks, width=width, resolution=resolution, head=Classifier(classes=10))


class DeviceContract:
    """Contract of a `LatencyDevice`; a subclass defines the fixture `device`."""

    def test_its_name_opens_an_equal_device(self, device: LatencyDevice) -> None:
        """`info.name` is the text that opens the device again."""
        with open_device(device.info.name) as again:
            assert again.info == device.info

    def test_what_it_measures_is_measured_on_it(self, device: LatencyDevice) -> None:
        """A measurement is positive, inside its interval, and names the device."""
        latency = device.measure(network_of())
        assert latency.kind == "measured"
        assert latency.device == device.info
        assert 0 < latency.ci_low_ms <= latency.median_ms <= latency.ci_high_ms
        assert latency.samples + latency.dropped > 0

    def test_a_far_larger_network_takes_longer(self, device: LatencyDevice) -> None:
        """A network with a hundred times the multiply-adds is slower."""
        networks = (network_of(), network_of(width=1.4, resolution=224, repeats=3))
        small, large = Measurer(device).measure(networks, time_s=TIME_S)
        assert small.ci_high_ms < large.ci_low_ms

    def test_a_runner_runs_again_and_again(self, device: LatencyDevice) -> None:
        """A prepared network can be run any number of times."""
        spec = network_of()
        if isinstance(device, RunnerDevice):
            run = device.prepare(spec)
            for _ in range(3):
                run()
        else:
            request = BurstRequest(spec, burst_ms=1.0, warm_ms=0.0, min_runs=3)
            assert all(len(runs) >= 3 for runs in device.bursts([request, request]))


class EvaluatorContract:
    """Contract of an `AccuracyEvaluator`; a subclass defines the fixture `evaluator`."""

    def test_its_accuracies_mean_what_it_says(self, evaluator: AccuracyEvaluator) -> None:
        """Kind, metric and dataset equal those of `info`; the value is in its interval, within 0 to 1.

        Only a score, of the kind ``proxy``, may be any number.
        """
        accuracy = evaluator.evaluate(network_of(), seed=0, report=no_report)
        assert (accuracy.kind, accuracy.metric, accuracy.dataset) == (
            evaluator.info.kind,
            evaluator.info.metric,
            evaluator.info.dataset,
        )
        assert accuracy.low <= accuracy.value <= accuracy.high
        assert accuracy.kind == "proxy" or (accuracy.low >= 0 and accuracy.high <= 1)

    def test_equal_seeds_give_equal_accuracies(self, evaluator: AccuracyEvaluator) -> None:
        """All random numbers depend on the seed."""
        first, second = (evaluator.evaluate(network_of(), seed=7, report=no_report) for _ in range(2))
        assert first == second


class ExporterContract:
    """Contract of an `Exporter`; a subclass defines the fixture `exporter`."""

    def test_what_it_writes_computes_the_same(self, exporter: Exporter, tmp_path: Path) -> None:
        """The file exists, has the reported size, and differs by at most the tolerance."""
        target = tmp_path / f"network{exporter.suffix}"
        report = exporter.export(network_of(), weights=None, to=target, seed=0)
        assert report.path == target
        assert target.stat().st_size == report.size_bytes > 0
        assert report.max_relative_difference <= report.tolerance

    def test_it_leaves_nothing_else_behind(self, exporter: Exporter, tmp_path: Path) -> None:
        """No temporary file is left beside the target."""
        target = tmp_path / f"network{exporter.suffix}"
        exporter.export(network_of(), weights=None, to=target, seed=0)
        assert list(tmp_path.iterdir()) == [target]

    def test_a_folder_that_is_not_there_leaves_no_file(self, exporter: Exporter, tmp_path: Path) -> None:
        """A target that cannot be written raises `ExportError`."""
        from mnv2search.errors import ExportError

        with pytest.raises(ExportError):
            exporter.export(network_of(), weights=None, to=tmp_path / "missing" / f"n{exporter.suffix}", seed=0)
