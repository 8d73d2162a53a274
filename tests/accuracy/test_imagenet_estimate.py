import csv
import math
import re
from dataclasses import replace
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnv2search.accuracy.estimate import (
    NUMERIC,
    Features,
    coefficients,
    departures,
    estimate,
    estimate_many,
    gain,
    ranking_bound_many,
)
from mnv2search.accuracy.evaluator import AccuracyEvaluator
from mnv2search.accuracy.evaluators.imagenet import ImagenetEvaluator, features_of
from mnv2search.accuracy.types import Accuracy
from mnv2search.errors import EvaluatorError
from mnv2search.spec.model_spec import BlockSpec, Classifier, ModelSpec
from mnv2search.spec.plan import plan
from mnv2search.spec.rows import MOBILENET_V2_BLOCKS
from mnv2search.tasks.metrics import Difference

ROWS = MOBILENET_V2_BLOCKS
PUBLISHED = tuple(
    csv.DictReader(files("mnv2search.accuracy").joinpath("published.csv").read_text(encoding="utf-8").splitlines())
)
SLIM = tuple(row for row in PUBLISHED if row["architecture"] == "slim_mbv2")
REFERENCE = tuple(row for row in PUBLISHED if row["reference"] == "1")


def mobilenet_v2(**changes: Any) -> ModelSpec:
    return replace(ModelSpec(name="mobilenet_v2", blocks=ROWS), **changes)


def tabled(row: dict[str, str]) -> Features:
    return Features(
        madds=int(row["madds"]),
        body_params=int(row["body_params"]),
        blocks=int(row["blocks"]),
        resolution=int(row["resolution"]),
        large_kernel_share=float(row["large_kernel_share"] or 0),
        se_share=float(row["se_share"]),
    )


BASE = features_of(plan(mobilenet_v2()))


@st.composite
def covered(draw: st.DrawFn) -> Features:
    """Networks of costs and resolutions that are published, with up to twice or half the typical parameters."""
    madds = math.exp(draw(st.floats(math.log(2e7), math.log(2e9))))
    resolution = draw(st.integers(128, 320))
    typical = Features(madds=madds, body_params=1e6, blocks=16, resolution=resolution)
    params_ratio, blocks_ratio = departures(typical)
    return Features(
        madds=madds,
        body_params=1e6 / params_ratio * draw(st.floats(0.5, 2)),
        blocks=16 / blocks_ratio * draw(st.floats(0.75, 1.2)),
        resolution=resolution,
        large_kernel_share=draw(st.floats(0, 1)),
        se_share=draw(st.floats(0, 1)),
        unexpanded_share=draw(st.floats(0, 1)),
    )


@pytest.mark.parametrize("row", SLIM, ids=lambda row: row["name"])
def test_features_of_slims_checkpoints_equal_the_table(row: dict[str, str]) -> None:
    width, resolution = row["name"].split("_")[2:]
    features = features_of(plan(mobilenet_v2(width=float(width), resolution=int(resolution))))
    assert features == tabled(row)


@pytest.mark.parametrize("row", SLIM, ids=lambda row: row["name"])
def test_slims_checkpoints_are_estimated_within_two_points(row: dict[str, str]) -> None:
    assert estimate(tabled(row)).value == pytest.approx(float(row["top1"]) / 100, abs=0.025)


def test_the_interval_covers_nine_in_ten_published_networks() -> None:
    inside = [estimate(tabled(r)).low <= float(r["top1"]) / 100 <= estimate(tabled(r)).high for r in REFERENCE]
    assert len(inside) == 47
    assert sum(inside) / len(inside) >= 0.9


def test_mobilenet_v2_is_estimated_within_the_spread_of_its_recipes() -> None:
    found = estimate(BASE)
    assert 0.718 <= found.value <= 0.729  # slim's and timm's trainings
    assert 0.03 < found.high - found.low < 0.05


def test_the_classes_of_the_users_task_do_not_move_the_estimate() -> None:
    other = features_of(plan(mobilenet_v2(head=Classifier(classes=10))))
    assert other == features_of(plan(mobilenet_v2(head=None))) == BASE


def test_attention_free_reference_networks_are_no_extrapolation() -> None:
    noted = {row["name"] for row in REFERENCE if estimate(tabled(row)).note}
    assert len(noted) <= 0.05 * len(REFERENCE)


@settings(deadline=None)
@given(covered(), st.floats(1.01, 2))
def test_more_body_parameters_are_estimated_better_and_ever_less_so(features: Features, factor: float) -> None:
    once, twice = (replace(features, body_params=features.body_params * factor**power) for power in (1, 2))
    first = gain(once, features).value
    assert first > 0
    assert logit(once) - logit(features) > logit(twice) - logit(once)


@settings(deadline=None)
@given(covered(), st.sampled_from([1.5, 2.0, 3.0]))
def test_either_much_less_or_much_more_resolution_at_equal_cost_is_worse(features: Features, factor: float) -> None:
    sides = [features.resolution * factor**power for power in (-2, -1, 0, 1, 2)]
    bent = [logit(replace(features, resolution=side, body_params=same_ratio(features, side))) for side in sides]
    assert all(2 * here > before + after for before, here, after in zip(bent, bent[1:], bent[2:], strict=False))


def logit(features: Features) -> float:
    value = estimate(features).value
    return math.log(value / (1 - value))


def same_ratio(features: Features, side: float) -> float:
    """Body parameters that are as typical at another resolution."""
    ratio = departures(features)[0]
    return features.body_params * ratio / departures(replace(features, resolution=side))[0]


@settings(deadline=None)
@given(st.integers(0, 4), st.sampled_from([0.35, 0.5, 0.75, 1.0, 1.3]), st.sampled_from([1.1, 1.25, 1.5]))
def test_more_width_is_estimated_better(step: int, width: float, factor: float) -> None:
    resolution = 96 + 32 * step
    small, wide = (features_of(plan(mobilenet_v2(width=w, resolution=resolution))) for w in (width, width * factor))
    assert estimate(wide).value > estimate(small).value


@settings(deadline=None)
@given(st.sampled_from([0.35, 0.5, 1.0, 1.4]), st.sampled_from([96, 128, 192, 256, 320]))
def test_more_resolution_is_estimated_better(width: float, resolution: int) -> None:
    small, large = (
        features_of(plan(mobilenet_v2(width=width, resolution=side))) for side in (resolution, resolution + 32)
    )
    assert estimate(large).value > estimate(small).value


@settings(deadline=None)
@given(covered())
def test_the_bound_is_below_the_estimate(features: Features) -> None:
    assert estimate(features).low < estimate(features).value


@settings(deadline=None)
@given(st.lists(covered(), min_size=1, max_size=5), st.floats(0.2, 5))
def test_many_at_once_equal_one_by_one(several: list[Features], factor: float) -> None:
    stretched = [replace(f, madds=f.madds * factor, body_params=f.body_params / factor) for f in several]
    assert estimate_many(stretched) == pytest.approx([estimate(f).value for f in stretched])
    assert ranking_bound_many(stretched) == pytest.approx([estimate(f).low for f in stretched])


def test_many_of_none_is_empty() -> None:
    assert estimate_many([]).shape == (0,)


def test_arrays_are_taken_like_networks() -> None:
    columns = {name: np.array([float(getattr(BASE, name))]) for name in NUMERIC}
    assert estimate_many(columns) == pytest.approx([estimate(BASE).value])
    assert ranking_bound_many(columns) == pytest.approx([estimate(BASE).low])


def test_what_the_tables_do_not_know_lowers_the_bound_of_many_too() -> None:
    split = replace(BASE, unusual="split convolutions")
    assert ranking_bound_many([split, BASE]) == pytest.approx([estimate(split).low, estimate(BASE).low])
    assert estimate(split).low < estimate(BASE).low


def test_kernels_above_the_tables_count_as_the_largest_there_and_are_said() -> None:
    seven = replace(BASE, largest_kernel=7)
    assert estimate(seven).value == estimate(BASE).value
    assert estimate(seven).note == "the estimate extrapolates: kernel 7, above 5, counts as 5"


def test_ever_more_parameters_end_below_where_they_began() -> None:
    bounds = [estimate(replace(BASE, body_params=BASE.body_params * 2**power)).low for power in range(8)]
    assert max(bounds) in bounds[:3]
    assert bounds[4] < bounds[0]
    assert bounds[4:] == sorted(bounds[4:], reverse=True)


@settings(deadline=None)
@given(covered(), st.floats(1.2, 4), st.floats(1.2, 2))
def test_an_interval_grows_with_the_distance_in_all_dimensions_together(
    features: Features, params: float, blocks: float
) -> None:
    more = replace(features, body_params=features.body_params * params)
    both = replace(more, blocks=features.blocks * blocks)
    widths = [gain(other, features).high - gain(other, features).low for other in (more, both)]
    logits = [width_in_logits(gain(other, features), features) for other in (more, both)]
    assert all(width > 0 for width in widths)
    assert logits[1] > logits[0] > 2 * 1.644 * math.sqrt(2) * coefficients().noise_sd


def width_in_logits(found: Difference, base: Features) -> float:
    start = estimate(base).value
    low, high = start + found.low, start + found.high
    return math.log(high / (1 - high)) - math.log(low / (1 - low))


def test_a_network_gains_nothing_over_itself() -> None:
    assert gain(BASE, BASE) == (0.0, 0.0, 0.0)


@settings(deadline=None)
@given(covered(), covered())
def test_a_gain_one_way_is_a_loss_the_other_way(one: Features, other: Features) -> None:
    forth, back = gain(one, other), gain(other, one)
    assert forth.low <= forth.value <= forth.high
    assert forth.value * back.value <= 0


def test_a_gain_is_known_better_than_two_independent_estimates() -> None:
    deeper = replace(BASE, blocks=22, body_params=3_000_000)
    found = gain(deeper, BASE)
    independent = math.hypot(*(estimate(f).high - estimate(f).low for f in (deeper, BASE)))
    assert found.high - found.low < independent


def test_a_gain_is_the_difference_of_the_estimates() -> None:
    richer = replace(BASE, body_params=BASE.body_params * 1.5)
    assert gain(richer, BASE).value == pytest.approx(estimate(richer).value - estimate(BASE).value)


def test_a_network_of_many_parameters_at_a_small_side_is_not_said_to_beat_what_is_published() -> None:
    # Source: timm, mobilenetv2_120d.ra: 77.3 % at 690 M multiply-adds and 224 px.
    found = estimate(Features(madds=659e6, body_params=11.7e6, blocks=20, resolution=192))
    assert found.value < 0.773


def test_efficientnet_lite0_gains_over_mobilenet_v2_as_published() -> None:
    # Source: timm's results-imagenet.csv: efficientnet_lite0.ra 75.488, mobilenetv2_100.ra 72.910, one recipe.
    lite0 = next(tabled(row) for row in PUBLISHED if row["name"] == "efficientnet_lite0.ra_in1k@224")
    found = gain(lite0, BASE)
    assert found.low <= 0.02578 <= found.high


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (
            {"body_params": 100_000},
            r"0\.04 x the body parameters of a typical network.* \(the data begin at 0\.31 x\)",
        ),
        ({"madds": 9e9}, r"9000 M multiply-adds \(the data end at 4672 M\)"),
        ({"resolution": 640}, r"resolution 640 px \(the data end at 448 px\)"),
        ({"unusual": "split convolutions"}, "extrapolates: split convolutions"),
        ({"body_params": 11e6, "blocks": 34}, "in all dimensions together"),
    ],
    ids=["params", "madds", "resolution", "unusual", "together"],
)
def test_leaving_the_tables_is_said_and_widens_the_interval(change: dict[str, Any], note: str) -> None:
    left = estimate(replace(BASE, **change))
    assert re.search(note, left.note)
    assert half_width(left) > 1.2 * half_width(estimate(BASE))


def half_width(found: Accuracy) -> float:
    return 0.5 * (math.log(found.high / (1 - found.high)) - math.log(found.low / (1 - found.low)))


def test_squeeze_excite_counts_and_other_activations_are_said() -> None:
    gated = tuple(replace(row, transform="squeeze_excite") for row in ROWS)
    features = features_of(plan(mobilenet_v2(blocks=gated, activation="hard_swish")))
    assert features.se_share == 1
    assert estimate(features).value > estimate(BASE).value
    assert "treated as ReLU6" in estimate(features).note
    assert features.body_params == BASE.body_params
    assert features.madds == BASE.madds


def test_unexpanded_blocks_after_the_first_stage_count_by_stage() -> None:
    rows = (*ROWS[:2], replace(ROWS[2], expansion=1), *ROWS[3:])
    assert BASE.unexpanded_share == 0
    assert features_of(plan(mobilenet_v2(blocks=rows))).unexpanded_share == pytest.approx(1 / 6)


def test_large_kernels_count_by_block() -> None:
    rows = (*ROWS[:2], replace(ROWS[2], kernel=5), *ROWS[3:])
    features = features_of(plan(mobilenet_v2(blocks=rows)))
    assert features.large_kernel_share == pytest.approx(3 / 17)
    assert features.largest_kernel == 5


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"resolution": 64}, "resolution 64 px is below 96 px"),
        ({"blocks": (BlockSpec(channels=16), BlockSpec(channels=32, stride=2))}, "total stride 4 is below 16"),
    ],
    ids=["resolution", "stride"],
)
def test_small_images_are_refused_with_the_way_out(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(EvaluatorError, match=reason) as caught:
        ImagenetEvaluator().evaluate(mobilenet_v2(**changes))
    assert "tend to be less accurate" in caught.value.message
    assert "--accuracy" in caught.value.hint


def test_the_evaluator_estimates_and_says_so() -> None:
    evaluator = ImagenetEvaluator()
    found = evaluator.evaluate(mobilenet_v2(), seed=3)
    assert isinstance(evaluator, AccuracyEvaluator)
    assert (found.kind, found.dataset, found.metric) == ("estimated", "imagenet-1k", "top1")
    assert evaluator.info.kind == "estimated"
    assert found == estimate(BASE)
