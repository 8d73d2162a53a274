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
    Features,
    coefficients,
    estimate,
    estimate_many,
    gain,
    ranking_bound,
    ranking_bound_many,
)
from mnv2search.accuracy.evaluators.imagenet import ImagenetEvaluator, features_of
from mnv2search.accuracy.types import AccuracyEvaluator
from mnv2search.errors import EvaluatorError
from mnv2search.spec.model_spec import BlockSpec, Classifier, ModelSpec
from mnv2search.spec.plan import plan

# Source: arXiv 1801.04381, Table 2.
TABLE_2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
ROWS = tuple(BlockSpec(expansion=t, channels=c, repeats=n, stride=s) for t, c, n, s in TABLE_2)
PUBLISHED = tuple(
    csv.DictReader(files("mnv2search.accuracy").joinpath("published.csv").read_text(encoding="utf-8").splitlines())
)
SLIM = tuple(row for row in PUBLISHED if row["family"] == "slim_mbv2")
FITTED = tuple(row for row in PUBLISHED if row["fitted"] == "1")


def mobilenet_v2(**changes: Any) -> ModelSpec:
    return replace(ModelSpec(name="mobilenet_v2", blocks=ROWS), **changes)


def tabled(row: dict[str, str]) -> Features:
    return Features(
        madds=int(row["madds"]),
        body_params=int(row["body_params"]),
        activations=int(row["activations"]),
        blocks=int(row["blocks"]),
        resolution=int(row["resolution"]),
        large_kernel_share=int(row["large_kernel_blocks"]) / int(row["blocks"]),
    )


NUMERIC = (
    "madds",
    "body_params",
    "activations",
    "blocks",
    "resolution",
    "large_kernel_share",
    "se_share",
    "unexpanded_share",
)
BASE = features_of(plan(mobilenet_v2()))


@st.composite
def covered(draw: st.DrawFn) -> Features:
    ranges = coefficients().ranges

    def between(name: str) -> float:
        low, high = (math.log(end) for end in ranges[name])
        return math.exp(low + (high - low) * draw(st.floats(0.001, 0.999)))

    return Features(
        madds=between("madds"),
        body_params=between("body_params"),
        activations=between("activations"),
        blocks=draw(st.integers(10, 29)),
        resolution=draw(st.integers(96, 380)),
        large_kernel_share=draw(st.floats(0, 1)),
        se_share=draw(st.floats(0, 1)),
        unexpanded_share=draw(st.floats(0, 1)),
    )


@pytest.mark.parametrize("row", SLIM, ids=lambda row: row["name"])
def test_features_of_slims_checkpoints_equal_the_table(row: dict[str, str]) -> None:
    _, width, resolution = row["name"].split("_")
    features = features_of(plan(mobilenet_v2(width=float(width), resolution=int(resolution))))
    assert features == tabled(row)


@pytest.mark.parametrize("row", SLIM, ids=lambda row: row["name"])
def test_slims_checkpoints_are_estimated_within_two_points(row: dict[str, str]) -> None:
    assert estimate(tabled(row)).value == pytest.approx(float(row["top1"]) / 100, abs=0.02)


def test_the_interval_covers_nine_in_ten_published_networks() -> None:
    inside = [estimate(tabled(r)).low <= float(r["top1"]) / 100 <= estimate(tabled(r)).high for r in FITTED]
    assert len(inside) == 47
    assert sum(inside) / len(inside) >= 0.9


def test_the_interval_is_about_two_points_wide_at_seventy_two() -> None:
    found = estimate(BASE)
    assert found.value == pytest.approx(0.726, abs=0.001)
    assert found.high - found.low == pytest.approx(0.021, abs=0.001)


def test_the_classes_of_the_users_task_do_not_move_the_estimate() -> None:
    other = features_of(plan(mobilenet_v2(head=Classifier(classes=10))))
    assert other == features_of(plan(mobilenet_v2(head=None))) == BASE


def test_every_published_attention_free_network_is_inside_the_covered_ranges() -> None:
    assert {estimate(tabled(row)).note for row in FITTED} == {""}


@settings(deadline=None)
@given(covered(), st.floats(1.01, 2))
def test_more_body_parameters_are_estimated_better(features: Features, factor: float) -> None:
    assert estimate(replace(features, body_params=features.body_params * factor)).value > estimate(features).value


@settings(deadline=None)
@given(covered(), st.integers(1, 10))
def test_more_blocks_of_equal_cost_are_estimated_better(features: Features, more: int) -> None:
    assert estimate(replace(features, blocks=features.blocks + more)).value > estimate(features).value


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
    assert ranking_bound(features) < estimate(features).value


@settings(deadline=None)
@given(st.lists(covered(), min_size=1, max_size=5), st.floats(0.2, 5))
def test_many_at_once_equal_one_by_one(several: list[Features], factor: float) -> None:
    stretched = [replace(f, madds=f.madds * factor, body_params=f.body_params / factor) for f in several]
    assert estimate_many(stretched) == pytest.approx([estimate(f).value for f in stretched])
    assert ranking_bound_many(stretched) == pytest.approx([ranking_bound(f) for f in stretched])


def test_many_of_none_is_empty() -> None:
    assert estimate_many([]).shape == (0,)


def test_arrays_are_taken_like_networks() -> None:
    columns = {name: np.array([float(getattr(BASE, name))]) for name in NUMERIC}
    assert estimate_many(columns) == pytest.approx([estimate(BASE).value])
    assert ranking_bound_many(columns) == pytest.approx([ranking_bound(BASE)])


def test_what_the_tables_do_not_know_lowers_the_bound_of_many_too() -> None:
    split = replace(BASE, unusual="split convolutions")
    assert ranking_bound_many([split, BASE]) == pytest.approx([ranking_bound(split), ranking_bound(BASE)])
    assert ranking_bound(split) < ranking_bound(BASE)


def test_kernels_above_the_tables_count_as_the_largest_there_and_are_said() -> None:
    seven = replace(BASE, largest_kernel=7)
    assert estimate(seven).value == estimate(BASE).value
    assert estimate(seven).note == "extrapolates: kernel 7 is above 5 and counts as 5"


def test_leaving_the_ranges_does_not_raise_the_bound() -> None:
    low, high = coefficients().ranges["departure"]
    inside = replace(BASE, body_params=BASE.body_params * 2)
    assert low < 0 < high
    bounds = [ranking_bound(replace(inside, body_params=inside.body_params * f)) for f in (1, 2, 4, 8, 16, 32)]
    assert max(bounds[2:]) <= max(bounds[:3])
    assert bounds[5] < bounds[2]


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


def test_a_gain_from_structure_alone_is_shrunk() -> None:
    richer = replace(BASE, body_params=BASE.body_params * 1.5)
    whole = estimate(richer).value - estimate(BASE).value
    assert gain(richer, BASE).value == pytest.approx(coefficients().gain_shrink * whole, rel=0.02)


def test_efficientnet_lite0_gains_over_mobilenet_v2_as_published() -> None:
    # Source: timm's results-imagenet.csv: efficientnet_lite0.ra 75.488, mobilenetv2_100.ra 72.910, one recipe.
    lite0 = next(tabled(row) for row in PUBLISHED if row["name"] == "efficientnet_lite0.ra_in1k@224")
    found = gain(lite0, BASE)
    assert found.low <= 0.02578 <= found.high
    assert found.low > 0


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"body_params": 100_000}, r"extrapolates: 0\.10 M body parameters is below 0\.40 M"),
        ({"madds": 9e9}, "extrapolates: 9000 M multiply-adds is above 3944 M"),
        ({"resolution": 448}, "resolution 448 px is above 380 px"),
        ({"unusual": "split convolutions"}, "extrapolates: split convolutions"),
        ({"body_params": 10_000_000}, "departure of .* is above"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_leaving_the_tables_is_said_and_widens_the_interval(change: dict[str, Any], note: str) -> None:
    left = estimate(replace(BASE, **change))
    assert re.search(note, left.note)
    assert (
        math.log(left.high / (1 - left.high)) - math.log(left.low / (1 - left.low)) > 2.01 * coefficients().half_width
    )


def test_squeeze_excite_and_other_activations_are_said() -> None:
    gated = tuple(replace(row, transform="squeeze_excite") for row in ROWS)
    features = features_of(plan(mobilenet_v2(blocks=gated, activation="hard_swish")))
    assert features.se_share == 1
    assert "squeeze-excite" in estimate(features).note
    assert "taken for ReLU6" in estimate(features).note
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
    assert "reverses" in caught.value.message
    assert "--accuracy" in caught.value.hint


def test_the_evaluator_estimates_and_says_so() -> None:
    evaluator = ImagenetEvaluator()
    found = evaluator.evaluate(mobilenet_v2(), seed=3)
    assert isinstance(evaluator, AccuracyEvaluator)
    assert (found.kind, found.dataset, found.metric) == ("estimated", "imagenet-1k", "top1")
    assert evaluator.info.kind == "estimated"
    assert found == estimate(BASE)
