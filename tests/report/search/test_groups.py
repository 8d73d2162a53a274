"""Near-equals: networks that the evidence cannot tell apart are one group, of which the cheapest is shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from mnv2search.accuracy.registry import open_evaluator
from mnv2search.accuracy.types import Accuracy, Kind
from mnv2search.evaluation import Budget, Evaluation, evaluate_spec
from mnv2search.latency.registry import open_device
from mnv2search.report.search.front import front_csv
from mnv2search.report.search.groups import groups_by_name, near_equals
from mnv2search.report.search.run import run_json, run_rows
from mnv2search.report.table_text import csv_text
from mnv2search.spec.yaml.codec import load_spec
from mnv2search.study.results import result_of
from mnv2search.study.types import Evaluated, SearchResult


def network(
    name: str, accuracy: float, latency_ms: float, *, half: float = 0.02, kind: Kind = "trained", size: int = 9
) -> Evaluation:
    """An evaluation with an accuracy of a half-width, and a latency of 1 %."""
    with open_device("simulated") as device:
        found = evaluate_spec(
            load_spec("mobilenet_v2_0.35_96"),
            device=device,
            evaluator=open_evaluator("imagenet"),
            budget=Budget(latency_ms=50.0),
        )
    assert found.latency is not None
    low_ms, high_ms = 0.99 * latency_ms, 1.01 * latency_ms
    return replace(
        found,
        spec=replace(found.spec, name=name),
        cost=replace(found.cost, size_bytes=size),
        latency=replace(found.latency, median_ms=latency_ms, ci_low_ms=low_ms, ci_high_ms=high_ms),
        accuracy=Accuracy(
            value=accuracy, low=accuracy - half, high=accuracy + half, metric="top1", kind=kind, dataset="mine"
        ),
    )


def result(*networks: Evaluation) -> SearchResult:
    items = [Evaluated(trial=-1, stage="final", pick=(), evaluation=one) for one in networks]
    return result_of(items, elapsed_s=1.0)


def names(*networks: Evaluation) -> list[list[str]]:
    return [[e.spec.name for e in group] for group in near_equals(networks)]


BEST, NEXT, FAR = network("best", 0.78, 14.0), network("next", 0.775, 9.0), network("far", 0.70, 8.0)


def test_networks_within_a_point_and_their_intervals_are_one_group_led_by_the_fastest() -> None:
    assert names(FAR, BEST, NEXT) == [["next", "best"], ["far"]]


@pytest.mark.parametrize(
    "other",
    [
        network("other", 0.765, 9.0),
        network("other", 0.775, 9.0, half=0.001),
        network("other", 0.775, 9.0, kind="inherited"),
        network("other", 0.775, 9.0, kind="proxy"),
    ],
    ids=["more than a point", "certain", "another kind", "a score"],
)
def test_networks_that_are_told_apart_are_no_group(other: Evaluation) -> None:
    certain = network("best", 0.78, 14.0, half=0.001)
    assert sorted(names(certain, other)) == [["best"], ["other"]]


def test_scores_are_no_group() -> None:
    assert len(names(network("a", 0.5, 9.0, kind="proxy"), network("b", 0.5, 8.0, kind="proxy"))) == 2


def test_of_networks_that_are_equally_fast_the_smallest_is_shown() -> None:
    fastest, smaller = network("fastest", 0.78, 9.0, size=9), network("smaller", 0.78, 9.1, size=5)
    slower = network("slower", 0.78, 12.0, size=1)
    assert names(slower, fastest, smaller) == [["smaller", "fastest", "slower"]]


def test_estimates_are_compared_by_the_interval_of_their_gain() -> None:
    """Their own intervals, which mostly state the unknown recipe, would overlap."""
    found = [replace(network(name, 0.5, 9.0), spec=load_spec(name)) for name in PUBLISHED]
    estimate = open_evaluator("imagenet")
    estimated = [replace(e, accuracy=estimate.evaluate(e.spec, seed=0, report=lambda _, __: None)) for e in found]
    assert sorted(map(len, near_equals(estimated))) == [1, 1]


PUBLISHED = ("mobilenet_v2_1.0_192", "mobilenet_v2_1.0_160")


def test_a_table_of_groups_has_the_network_to_ship_and_the_cheapest_of_each_group() -> None:
    whole, shown = run_rows(result(FAR, BEST, NEXT)), run_rows(result(FAR, BEST, NEXT), grouped=True)
    assert [row[0] for row in whole.rows] == ["best", "next", "far"]
    assert [(row[0], row[-1]) for row in shown.rows] == [("best", "like next"), ("next", ""), ("far", "")]
    third = network("third", 0.779, 12.0)
    shown = run_rows(result(FAR, BEST, NEXT, third), grouped=True)
    assert [(row[0], row[-1]) for row in shown.rows] == [("best", "like next"), ("next", "1 more"), ("far", "")]


def test_without_near_equals_nothing_is_said_of_groups() -> None:
    shown = run_rows(result(FAR, BEST), grouped=True)
    assert len(shown.rows) == 2
    assert shown.columns[-1].title == "side"


def test_machine_readable_output_has_every_network_with_its_group() -> None:
    found = result(FAR, BEST, NEXT)
    document = run_json(found, folder=Path("x"), status="finished")
    members = cast("list[dict[str, object]]", document["front"])
    assert [one["near_equals"] for one in members] == ["far", "next", "next"]
    assert [line.split(",")[-1] for line in front_csv(found.front).splitlines()] == [
        "near_equals",
        "far",
        "next",
        "next",
    ]
    assert [line.split(",")[-1] for line in csv_text(run_rows(found)).splitlines()] == [
        "near-equals",
        "next",
        "next",
        "far",
    ]


def test_every_network_is_in_one_group() -> None:
    assert set(groups_by_name([FAR, BEST, NEXT])) == {"far", "best", "next"}
