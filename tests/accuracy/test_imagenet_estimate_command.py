import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("MNV2SEARCH_SHARED", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    if not (SHARED / "tables" / "accel_nasbench.csv.gz").exists():
        pytest.skip("tables/accel_nasbench.csv.gz is not there: set MNV2SEARCH_SHARED to the folder of the data")
    command = [sys.executable, str(ROOT / "benchmarks" / "imagenet_estimate.py"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_shipped_coefficients_equal_the_fit(report: dict[str, Any]) -> None:
    assert report["differs"] == []


def test_the_level_errs_by_at_most_six_tenths_of_a_point_on_families_it_has_not_seen(report: dict[str, Any]) -> None:
    assert report["level"]["reference_networks"] == 47
    assert report["level"]["family_out_mean_points"] <= 0.6
    assert report["level"]["family_out_spearman"] >= 0.99


@pytest.mark.parametrize(("kind", "least"), [("one resolution", 0.88), ("different resolution", 0.75)])
@pytest.mark.parametrize("left_out", ["recipe", "architecture", "source"])
def test_most_pairs_of_equal_cost_are_ordered(report: dict[str, Any], left_out: str, kind: str, least: float) -> None:
    row = report[f"gains, {left_out} left out"]["order"][f"{kind}, within 15 %"]
    assert row["clear"] >= 10
    assert row["clear_right"] >= least * row["clear"]


@pytest.mark.parametrize("kind", ["one resolution", "different resolution"])
def test_nine_in_ten_gains_are_inside_their_interval(report: dict[str, Any], kind: str) -> None:
    assert 0.88 <= report["gains, recipe left out"]["coverage"][kind] <= 0.94
    for left_out in ("architecture", "source"):
        assert report[f"gains, {left_out} left out"]["coverage"][kind] >= 0.87


@pytest.mark.parametrize("among", [20, 200])
def test_a_winner_is_worth_what_is_said(report: dict[str, Any], among: int) -> None:
    for state in ("left out", "fitted"):
        row = report["winners"][f"best of {among}, Accel-NASBench {state}, expanded networks"]
        assert abs(row["difference_points"]) <= 0.3


def test_gains_of_networks_of_two_supernets_are_estimated_within_half_a_point(report: dict[str, Any]) -> None:
    assert len(report["supernets"]) == 2
    assert all(error <= 0.5 for error in report["supernets"].values())


def test_networks_no_fit_has_seen_are_inside_their_intervals(report: dict[str, Any]) -> None:
    errors = [abs(row["published"] - row["estimated"]) for row in report["unseen"]]
    assert len(errors) == 8
    assert sum(errors) / len(errors) <= 0.01
    assert all(row["inside"] for row in report["unseen"])


def test_no_target_is_missed(report: dict[str, Any]) -> None:
    assert report["missed"] == []
