"""The stages of a network: their counts add up, and so do their predicted times."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mnv2search.cost import cost_of
from mnv2search.errors import OptionError
from mnv2search.latency.prediction.cache import LatencyCache
from mnv2search.latency.prediction.predictor import LatencyPredictor
from mnv2search.latency.registry import open_device
from mnv2search.latency.runtimes.simulated import simulated_ms
from mnv2search.report.stages.explanation import explanation_json, explanation_rows
from mnv2search.results.stages.block_times import BlockTimes
from mnv2search.spec.plan import plan
from mnv2search.workflows.explain import explain
from mnv2search.workflows.make_spec import make_spec

NETWORKS = ["mobilenet_v2_1.0_224", "ssdlite_mobilenet_v2", "deeplabv3_mobilenet_v2"]


def teach(*, networks: int) -> None:
    """Store the latencies of random networks on the simulated device."""
    with open_device("simulated") as device:
        predictor = LatencyPredictor(device.info)
        specs = [make_spec("mnv2", random=True, seed=seed) for seed in range(networks)]
        predictor.fit([(spec, simulated_ms(plan(spec))) for spec in specs])
        LatencyCache().save(device.info, reference_ms=None, observations=predictor.observations)


@pytest.mark.parametrize("name", NETWORKS)
def test_stages_add_up_to_the_network(name: str) -> None:
    explanation = explain(name)
    cost = cost_of(explanation.plan)
    assert sum(stage.params for stage in explanation.stages) == cost.params
    assert sum(stage.madds for stage in explanation.stages) == cost.madds
    assert max(stage.peak_activation_bytes for stage in explanation.stages) == cost.peak_activation_bytes


@pytest.mark.parametrize("name", NETWORKS)
def test_stages_cover_every_unit_once(name: str) -> None:
    explanation = explain(name)
    units = [unit for stage in explanation.stages for unit in explanation.units(stage)]
    assert tuple(units) == explanation.plan.units


def test_a_stage_is_stem_row_last_convolution_or_head() -> None:
    stages = [stage.at for stage in explain("ssdlite_mobilenet_v2").stages]
    assert stages == ["stem", *(f"blocks[{row}]" for row in range(7)), "last_channels", "head"]


def test_the_first_row_of_mobilenet_v2_costs_what_its_layers_cost() -> None:
    # depthwise 32 x 9 and projection 32 x 16, each with scale and shift of batch norm
    assert explain("mobilenet_v2_1.0_224").stage("blocks[0]").params == 32 * 9 + 2 * 32 + 32 * 16 + 2 * 16


def test_without_measurements_no_latency_is_predicted() -> None:
    notes: list[str] = []
    explanation = explain("mobilenet_v2_1.0_224", device="simulated", on_note=notes.append)
    assert explanation.predicted is None
    assert "device-profile --device simulated" in notes[0]
    assert [column.title for column in explanation_rows(explanation).columns].count("predicted") == 0
    assert explanation_json(explanation)["predicted"] is None


def test_two_measured_networks_are_too_few_for_a_prediction() -> None:
    teach(networks=2)
    assert explain("mobilenet_v2_1.0_224", device="simulated").predicted is None


@pytest.mark.parametrize("name", NETWORKS)
def test_predicted_times_of_stages_add_up_to_the_predicted_latency(name: str) -> None:
    teach(networks=12)
    predicted = explain(name, device="simulated").predicted
    assert predicted is not None
    total = sum(predicted.stages_ms) + predicted.fixed_ms
    assert total == pytest.approx(predicted.latency.median_ms)
    assert predicted.latency.kind == "predicted"


def test_a_detector_is_unlike_measured_classifiers() -> None:
    teach(networks=12)
    explanation = explain("deeplabv3_mobilenet_v2", device="simulated")
    assert explanation.predicted is not None
    assert explanation.predicted.extrapolates
    assert "the prediction is a guess" in " ".join(explanation_rows(explanation).notes)


def test_predicted_shares_of_a_table_add_up_to_100_percent() -> None:
    teach(networks=12)
    table = explanation_rows(explain("mobilenet_v2_1.0_224", device="simulated"))
    assert table.columns[-2].title == "predicted"
    assert table.rows[-1][0] == "fixed"
    assert sum(float(row[-1]) for row in table.rows) == pytest.approx(100, abs=0.6)


def test_memory_follows_the_precision() -> None:
    whole, quarter = (explain("mobilenet_v2_1.0_224", precision=p).stages[0] for p in ("fp32", "int8"))
    assert whole.peak_activation_bytes == 4 * quarter.peak_activation_bytes


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(OptionError, match="precision is 'fp8'"):
        explain("mobilenet_v2_1.0_224", precision="fp8")


def test_measured_times_of_stages_and_of_steps_outside_add_up() -> None:
    pytest.importorskip("onnxruntime")
    explanation = explain("mobilenet_v2_0.35_96", device="onnxruntime", measure=True)
    assert explanation.measured is not None
    document = explanation_json(explanation)
    times = [stage["measured_ms"] for stage in document["stages"]]  # type: ignore[attr-defined]
    assert sum(times) + explanation.measured.other_ms == pytest.approx(explanation.measured.total_ms)
    table = explanation_rows(explanation)
    assert [column.title for column in table.columns][-2:] == ["measured", ""]
    assert (table.rows[-1][0], table.footer[-1]) == ("outside", "100.0")


def test_of_predicted_and_measured_times_each_has_its_columns() -> None:
    teach(networks=12)
    explanation = explain("mobilenet_v2_1.0_224", device="simulated")
    units = len(explanation.plan.units)
    times = BlockTimes(network="m", units_ms=(1.0,) * units, other_ms=2.0, runs=5, runtime="mine 2")
    table = explanation_rows(replace(explanation, measured=times))
    assert {len(row) for row in (*table.rows, table.footer)} == {len(table.columns)}
    assert [column.title for column in table.columns][-4:] == ["measured", "", "predicted", ""]
    assert [(row[0], row[-4:-2], bool(row[-1])) for row in table.rows[-2:]] == [
        ("outside", ("2.00", f"{200 / (units + 2):.1f}"), False),
        ("fixed", ("", ""), True),
    ]


def test_a_device_without_a_profiler_measures_no_times() -> None:
    notes: list[str] = []
    assert explain("mobilenet_v2_1.0_224", device="simulated", measure=True, on_note=notes.append).measured is None
    assert notes[0].startswith("no time is measured: simulated has no profiler")


def test_measuring_needs_a_device() -> None:
    with pytest.raises(OptionError, match="--measure needs a device"):
        explain("mobilenet_v2_1.0_224", measure=True)
