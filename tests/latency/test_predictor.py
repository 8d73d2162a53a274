"""Prediction from measured networks, on the simulated device whose latencies are exact."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from fake_device import INFO

from mnv2search.latency.prediction.features import NAMES, FeatureTable
from mnv2search.latency.prediction.predictor import LatencyPredictor, Observation
from mnv2search.latency.runtimes.simulated import simulated_ms
from mnv2search.spec.model_spec import BlockSpec, ModelSpec, Stem
from mnv2search.spec.plan import plan


def networks(count: int, *, seed: int) -> list[ModelSpec]:
    """Random networks around MobileNetV2."""
    random = Random(seed)

    def rows() -> tuple[BlockSpec, ...]:
        return tuple(
            BlockSpec(channels=c, stride=s, expansion=random.choice([3, 4, 6]), kernel=random.choice([3, 5, 7]))
            for c, strides in ((24, (2, 1)), (32, (2, 1, 1)), (64, (2, 1)), (96, (1, 1)), (160, (2, 1)), (320, (1,)))
            for s in strides[: random.choice([1, 2, 3])]
        )

    return [
        ModelSpec(
            name=f"net-{i}",
            blocks=rows(),
            width=random.choice([0.35, 0.5, 0.75, 1.0, 1.4]),
            resolution=random.choice(range(96, 257, 32)),
        )
        for i in range(count)
    ]


def measured(specs: list[ModelSpec], *, factor: float = 1.0) -> list[tuple[ModelSpec, float]]:
    return [(spec, factor * simulated_ms(plan(spec))) for spec in specs]


def errors_of(predictor: LatencyPredictor, truth: list[tuple[ModelSpec, float]]) -> list[float]:
    found, _ = predictor.predict_many([plan(spec) for spec, _ in truth])
    return [abs(ms / exact - 1) for ms, (_, exact) in zip(found, truth, strict=True)]


TRAINING, REST = measured(networks(40, seed=1)), measured(networks(60, seed=2))


def fitted(count: int = 40) -> LatencyPredictor:
    predictor = LatencyPredictor(INFO)
    predictor.fit(TRAINING[:count])
    return predictor


def test_forty_networks_teach_an_exact_device() -> None:
    errors = errors_of(fitted(), REST)
    assert np.mean(errors) < 0.02
    assert np.mean([e <= 0.05 for e in errors]) >= 0.9


def test_more_measurements_predict_better() -> None:
    assert np.mean(errors_of(fitted(40), REST)) < np.mean(errors_of(fitted(4), REST))


def test_nothing_measured_is_a_guess_that_says_so() -> None:
    predictor = LatencyPredictor(INFO)
    ms, errors = predictor.predict_many([plan(spec) for spec, _ in REST])
    assert predictor.error is None
    assert (ms > 0).all()
    assert (errors > 0.3).all()


def test_the_stated_error_is_the_error_on_networks_not_seen() -> None:
    predictor = fitted()
    assert predictor.error == pytest.approx(float(np.mean(errors_of(predictor, REST))), rel=1.0)


def test_the_stated_standard_errors_cover_what_is_missed() -> None:
    predictor = fitted(20)
    _, stated = predictor.predict_many([plan(spec) for spec, _ in REST])
    covered = [e <= 1.96 * s for e, s in zip(errors_of(predictor, REST), stated, strict=True)]
    assert np.mean(covered) >= 0.85


def test_one_wild_measurement_is_outvoted() -> None:
    predictor = LatencyPredictor(INFO)
    spec, ms = TRAINING[0]
    predictor.fit([(spec, 3 * ms), *TRAINING[1:]])
    assert np.mean(errors_of(predictor, REST)) < 0.04


def test_a_network_unlike_all_others_is_an_extrapolation() -> None:
    gated = replace(REST[0][0], blocks=(BlockSpec(channels=64, repeats=4, transform="squeeze_excite"),))
    assert fitted().extrapolates([plan(REST[0][0]), plan(gated)]) == (False, True)


def test_a_network_far_larger_than_all_others_is_an_extrapolation() -> None:
    huge = replace(REST[0][0], resolution=1024)
    assert fitted().extrapolates([plan(huge)]) == (True,)


def test_a_prediction_is_called_one() -> None:
    latency = fitted().predict(REST[0][0])
    assert (latency.kind, latency.samples, latency.device) == ("predicted", 0, INFO)
    assert latency.ci_low_ms < latency.median_ms < latency.ci_high_ms


def test_what_was_learned_can_be_carried_to_the_next_process() -> None:
    carried = LatencyPredictor(INFO, earlier=fitted().observations)
    assert errors_of(carried, REST) == pytest.approx(errors_of(fitted(), REST))


def test_carried_measurements_that_no_longer_hold_are_dropped() -> None:
    carried = LatencyPredictor(INFO, earlier=fitted().observations)
    carried.fit(measured([spec for spec, _ in REST[:10]], factor=1.3))
    assert len(carried.observations) == 10


def test_carried_measurements_that_still_hold_are_kept() -> None:
    carried = LatencyPredictor(INFO, earlier=fitted().observations)
    carried.fit(measured([spec for spec, _ in REST[:10]], factor=1.02))
    assert len(carried.observations) == 50


def test_observations_of_other_features_are_ignored() -> None:
    assert LatencyPredictor(INFO, earlier=[Observation((1.0, 2.0), 3.0)]).observations == ()


def test_features_count_the_work_of_a_network_by_hand() -> None:
    spec = ModelSpec(
        name="hand",
        blocks=(BlockSpec(channels=16, expansion=2, expand_divisor=16, kernel=5, stride=2),),
        stem=Stem(channels=16),
        resolution=32,
        last_channels=None,
        head=None,
    )
    row = FeatureTable().matrix_of([plan(spec)])[0].tolist()
    found = {name: value for name, value in zip(NAMES, row, strict=True) if value}
    assert found == pytest.approx(
        {
            "networks": 1,
            "full_madds": 9 * 3 * 16 * 16**2 / 1e6,
            "pointwise_madds": (16 * 32 * 16**2 + 32 * 16 * 8**2) / 1e6,
            "pointwise_small_madds": 32 * 16 * 8**2 / 1e6,
            # 256 pixels lack 3 to a multiple of 7, and 64 lack 6
            "pointwise_wasted": (16 * 32 * 3 + 32 * 16 * 6) / 1e6,
            "pointwise_weights": 2 * 16 * 32 / 1e6,
            "pointwise_in": (16 * 16**2 + 32 * 8**2) / 1e6,
            "pointwise_out": (16 * 16**2 + 32 * 16**2 + 16 * 8**2) / 1e6,
            "pointwise_layers": 2,
            "depthwise_5_2": 25 * 32 * 8**2 / 1e6,
            "depthwise_in": 32 * 16**2 / 1e6,
            "depthwise_out": 32 * 8**2 / 1e6,
            "depthwise_layers": 1,
            "clipped_maps": (16 * 16**2 + 32 * 16**2 + 32 * 8**2) / 1e6,
        }
    )


def test_features_of_many_networks_are_those_of_each() -> None:
    plans = [plan(spec) for spec, _ in REST]
    together = FeatureTable().matrix_of(plans)
    assert together.tolist() == [pytest.approx(FeatureTable().matrix_of([p])[0].tolist()) for p in plans]


def test_no_networks_have_no_features() -> None:
    assert FeatureTable().matrix_of([]).shape == (0, len(NAMES))


def test_large_kernels_waste_what_a_map_lacks_to_whole_tiles() -> None:
    def wasted(side: int) -> float:
        blocks = (BlockSpec(channels=24, expansion=1, kernel=7),)
        network = ModelSpec(name="large", blocks=blocks, stem=Stem(channels=24), resolution=2 * side)
        row: list[float] = FeatureTable().matrix_of([plan(network)])[0].tolist()
        return dict(zip(NAMES, row, strict=True))["depthwise_wasted"]

    assert wasted(14) == 0.0
    assert wasted(8) == pytest.approx(49 * 24 * 6 / 1e6)


@pytest.mark.parametrize("count", [0, 3, 40], ids=lambda count: f"{count} networks")
def test_a_breakdown_adds_up_to_the_prediction(count: int) -> None:
    predictor = LatencyPredictor(INFO) if count == 0 else fitted(count)
    laid_out = plan(REST[0][0])
    times = predictor.breakdown(laid_out)
    assert len(times.units_ms) == len(laid_out.units)
    total = sum(times.units_ms) + times.fixed_ms
    assert total == pytest.approx(predictor.predict(laid_out.spec).median_ms)


def test_features_of_units_add_up_to_those_of_the_network() -> None:
    table, wide = FeatureTable(), plan(replace(REST[0][0], width=2.0))
    rest = table.matrix_of([wide])[0]
    rest[NAMES.index("networks")] = 0
    assert table.units_of(wide).sum(axis=0) == pytest.approx(rest)
    assert rest[NAMES.index("weights_beyond_cache")] > 0
