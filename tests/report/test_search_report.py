"""The end of a run: what to ship, or what would help."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from rich.console import Console

from mnv2search.accuracy.registry import open_evaluator
from mnv2search.accuracy.types import Accuracy
from mnv2search.evaluation import Budget, Evaluation, evaluate_spec
from mnv2search.latency.registry import open_device
from mnv2search.report.devices import latency_rows
from mnv2search.report.plot import front_png
from mnv2search.report.rows import Rows
from mnv2search.report.search.front import front_rows
from mnv2search.report.search.run import nothing_fits_lines, run_json, run_rows, ship_lines, status_lines
from mnv2search.report.table import draw
from mnv2search.spec.yaml.codec import load_spec
from mnv2search.study.results import result_of
from mnv2search.study.types import Evaluated, SearchResult


def weighed(budget: Budget) -> Evaluation:
    with open_device("simulated") as device:
        return evaluate_spec(
            load_spec("mobilenet_v2_0.35_96"), device=device, evaluator=open_evaluator("imagenet"), budget=budget
        )


def told(budget: Budget, *, status: str = "nothing fits") -> str:
    item = Evaluated(trial=0, stage="search", pick=(0,), evaluation=weighed(budget))
    return "\n".join(nothing_fits_lines(result_of([item], elapsed_s=1.0), budget=budget, status=status))


def test_the_latency_that_would_do_really_would() -> None:
    words = told(Budget(latency_ms=0.1)).split("--latency-ms to ")[1]
    assert weighed(Budget(latency_ms=float(words.split()[0]))).is_feasible


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        (Budget(latency_ms=5.0, latency_min_ms=4.5), "faster than 4.5 ms"),
        (Budget(latency_ms=0.1, latency_min_ms=0.05), "raise --latency-ms"),
        (Budget(latency_ms=5.0, params=10), "raise the limit of params from 10 to 1,678,409"),
        (Budget(latency_ms=5.0, params=10), "excluded the one network that the search looked at"),
    ],
)
def test_what_to_give_up_is_the_limit_that_is_broken(budget: Budget, said: str) -> None:
    assert said in told(budget)


def test_limits_that_exclude_everything_are_said_with_the_counts_that_come_nearest() -> None:
    near = weighed(Budget(latency_ms=5.0, params=10))
    assert f"{near.spec.name} with params {near.cost.params:,}" in told(Budget(latency_ms=5.0, params=10))


def test_time_that_ran_out_before_anything_was_looked_at_is_not_laid_to_the_budget() -> None:
    lines = [*nothing_fits_lines(result_of([], elapsed_s=1.0), budget=Budget(latency_ms=5.0), status="nothing fits")]
    assert len(lines) == 1
    assert lines[0].startswith("time ran out")


def test_a_run_without_its_final_measurement_is_not_said_to_fit_nothing() -> None:
    assert "nothing fits" not in told(Budget(latency_ms=5.0), status="interrupted")


def test_a_failed_run_is_not_said_to_be_interrupted() -> None:
    (line,) = status_lines("failed", "no space left")
    assert line.startswith("this run failed: no space left;")
    assert "interrupted" not in told(Budget(latency_ms=5.0), status="failed")


@dataclass(frozen=True)
class Figures:
    """Of one network: accuracy, 0 to 1, and latency in ms, each with a half-width."""

    accuracy: float
    latency_ms: float
    name: str = "mobilenet_v2_0.35_96"
    host: str = "local"


def result(*front: Figures, baseline: Sequence[Figures] = (), exhausted: bool = False) -> SearchResult:
    """The result of a search, with the stage of each network and figures of our choosing."""
    items = [Evaluated(trial=-1, stage="final", pick=(), evaluation=evaluated(f)) for f in front]
    items += [Evaluated(trial=-1, stage="final-baseline", pick=(), evaluation=evaluated(f)) for f in baseline]
    return replace(result_of(items, elapsed_s=1.0), exhausted=exhausted)


def evaluated(figures: Figures) -> Evaluation:
    own = weighed(Budget(latency_ms=20.0))
    assert own.latency is not None
    return replace(
        own,
        spec=replace(own.spec, name=figures.name),
        latency=replace(
            own.latency,
            median_ms=figures.latency_ms,
            ci_low_ms=0.97 * figures.latency_ms,
            ci_high_ms=1.03 * figures.latency_ms,
            device=replace(own.latency.device, host=figures.host, pinned="0"),
        ),
        accuracy=Accuracy(
            value=figures.accuracy,
            low=figures.accuracy - 0.01,
            high=figures.accuracy + 0.01,
            metric="top1",
            kind="trained",
            dataset="mine",
        ),
    )


BEST = Figures(0.780, 14.0, "best")
GRID = Figures(0.740, 5.0, "grid")


def shipped(found: SearchResult) -> str:
    return "\n".join(ship_lines(found, folder=Path("results/x")))


def test_a_member_next_to_as_accurate_and_clearly_faster_is_named() -> None:
    assert "near is 14 % faster and 0.3 points less accurate" in shipped(result(BEST, Figures(0.777, 12.0, "near")))


@pytest.mark.parametrize(
    "other", [Figures(0.770, 12.0, "other"), Figures(0.779, 13.8, "other")], ids=["worse", "no faster"]
)
def test_a_member_that_is_no_alternative_is_not_named(other: Figures) -> None:
    assert "other" not in shipped(result(BEST, other))


def test_a_front_that_does_not_beat_mobilenet_v2_is_said_to_need_more_time() -> None:
    assert "give more --time" in shipped(result(Figures(0.745, 6.0, "close"), baseline=[GRID]))
    assert "beats MobileNetV2" not in shipped(result(BEST, baseline=[GRID]))


def test_more_time_is_not_asked_for_where_every_network_was_evaluated() -> None:
    said = shipped(result(Figures(0.745, 6.0, "close"), baseline=[GRID], exhausted=True))
    assert "is the gain over MobileNetV2 certain" in said
    assert "--time" not in said


def front_of_numbers() -> Rows:
    return run_rows(result(Figures(0.7, 10.0, "mnv2-0001"), Figures(0.8, 14.0, "mnv2-0002"), baseline=[GRID]))


@pytest.mark.parametrize(
    ("width", "missing"),
    [
        (60, ["multiply-adds", "params", "side", "margin", "gain"]),
        (80, ["multiply-adds", "params", "side", "margin"]),
        (100, ["multiply-adds"]),
        (120, []),
    ],
)
def test_a_front_fits_the_terminal_by_leaving_out_the_least_important(width: int, missing: list[str]) -> None:
    out = io.StringIO()
    draw(front_of_numbers(), Console(file=out, width=width))
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    table, told = "\n".join(lines[:8]), out.getvalue().replace("\n", " ")
    assert max(len(line) for line in lines) <= width
    assert [name for name in ("multiply-adds", "params", "side", "margin", "gain") if name not in table] == missing
    assert [name for name in missing if name not in told] == []
    assert sum(line.startswith(" mnv2-000") for line in lines) == 2
    assert ("hidden to fit the terminal" in told) == bool(missing)


def test_all_machines_of_a_pool_and_the_cores_are_named() -> None:
    rows = front_rows(
        [evaluated(Figures(0.7, 10.0, host="ssh://pi1")), evaluated(Figures(0.8, 14, host="ssh://pi2"))]
    )
    told = next(note for note in rows.notes if note.startswith("device:"))
    assert "(ssh://pi1, ssh://pi2), 1 thread on core 0, fp32" in told


@pytest.mark.parametrize(
    ("visits", "cell", "note"),
    [(1, "measured, too few visits", "give more --time"), (30, "measured, noisy", "repeat when it is quiet")],
)
def test_want_of_visits_is_not_called_noise(visits: int, cell: str, note: str) -> None:
    own = weighed(Budget(latency_ms=5.0))
    assert own.latency is not None
    rows = latency_rows([own.spec], [replace(own.latency, noisy=True, visits=visits)])
    assert cell in rows.rows[0]
    assert note in rows.notes[-1]


def test_an_estimate_is_called_one_and_a_measurement_too() -> None:
    rows = front_rows([weighed(Budget(latency_ms=5.0))])
    headings = " ".join(column.title for column in rows.columns)
    assert "estimated top1" in headings
    assert "measured latency" in headings
    assert any("not a training result" in note for note in rows.notes)


def estimated(name: str) -> Evaluation:
    """A published network as a search with the built-in estimate evaluates it on a simulated device."""
    with open_device("simulated") as device:
        spec = load_spec(name)
        return evaluate_spec(
            spec, device=device, evaluator=open_evaluator("imagenet"), budget=Budget(latency_ms=1000.0)
        )


def found(ship: str, *baseline: str) -> SearchResult:
    items = [Evaluated(trial=-1, stage="final", pick=(), evaluation=estimated(ship))]
    items += [Evaluated(trial=-1, stage="final-baseline", pick=(), evaluation=estimated(name)) for name in baseline]
    return result_of(items, elapsed_s=1.0)


def test_an_estimate_stands_beside_the_nearest_published_networks() -> None:
    said = shipped(found("efficientnet_lite0"))
    assert "most similar published networks" in said
    assert "efficientnet_lite0.ra_in1k@224: 75.5 %, 224 px, 385 M multiply-adds, 4.7 M parameters (" in said
    document = run_json(found("efficientnet_lite0"), folder=Path("x"), status="finished")
    nearby = json.loads(json.dumps(document))["published_nearby"]
    assert len(nearby) == 3
    assert nearby[0]["top1"] == pytest.approx(0.75488)


def test_what_is_trained_needs_no_published_networks_beside_it() -> None:
    assert "published" not in shipped(result(BEST))
    assert run_json(result(BEST), folder=Path("x"), status="finished")["published_nearby"] == []


def test_the_price_of_a_network_besides_time_is_told_with_the_option_that_limits_it() -> None:
    said = shipped(found("efficientnet_lite0", "mobilenet_v2_0.5_96"))
    assert f"{4_652_008 / 1_968_680:.1f} x the parameters and file size" in said
    assert "compared with mobilenet_v2_0.5_96 it has" in said
    assert "to limit this, use --params, --madds, --peak-kb" in said
    assert "to limit this" not in shipped(found("mobilenet_v2_1.0_224", "mobilenet_v2_1.0_224"))


def test_networks_beyond_the_evidence_are_named_with_what_is_beyond() -> None:
    spec = replace(load_spec("mobilenet_v2_0.35_96"), name="tiny", width=0.1)
    own = weighed(Budget(latency_ms=5.0))
    small = replace(
        own, spec=spec, accuracy=open_evaluator("imagenet").evaluate(spec, seed=0, report=lambda *_: None)
    )
    notes = front_rows([small]).notes
    assert any(note.startswith("tiny: the estimate extrapolates: ") and "multiply-adds" in note for note in notes)
    assert not any("extrapolates" in note for note in front_rows([own]).notes)


def shared(merit: float, *, budget_ms: float) -> Evaluation:
    accuracy = Accuracy(
        value=0.3, low=0.27, high=0.33, metric="top1", kind="inherited", dataset="photos", merit=merit
    )
    return replace(weighed(Budget(latency_ms=budget_ms)), accuracy=accuracy)


def test_a_front_of_shared_weights_shows_what_it_is_made_by() -> None:
    latency = shared(0.2, budget_ms=5.0).latency
    assert latency is not None
    rows = front_rows([shared(0.2, budget_ms=2 * latency.median_ms)])
    at = [column.title for column in rows.columns].index("likelihood")
    assert (rows.columns[at].unit, rows.rows[0][at]) == ("%", "20.0")
    assert any(note.startswith("likelihood: ") for note in rows.notes)
    assert any("35 % of the budget, are left out" in note for note in rows.notes)
    small = front_rows([shared(0.2, budget_ms=4 * latency.median_ms)])
    assert not any("left out" in note for note in small.notes)


def test_the_plot_of_a_front_of_shared_weights_is_of_what_it_is_made_by() -> None:
    def drawn(merit: float) -> bytes:
        front = [shared(merit, budget_ms=5.0)]
        return front_png(front, dominated=[], baseline=[], budget_ms=5.0, title="t")

    assert drawn(0.2) != drawn(0.4)


@pytest.mark.parametrize(
    ("having", "said"),
    [
        ([], "front (specs, no weights)"),
        (["a"], "front (with weights: a; no weights: b)"),
        (["a", "b"], "front (each with its weights)"),
    ],
)
def test_each_member_of_a_front_has_weights_or_is_said_to_have_none(
    tmp_path: Path, having: list[str], said: str
) -> None:
    found = result(replace(BEST, name="a"), Figures(0.70, 5.0, "b"))
    (tmp_path / "front").mkdir()
    assert [(tmp_path / "front" / f"{name}.pt").write_bytes(b"x") for name in having] == [1] * len(having)
    assert f"{tmp_path / said}" in "\n".join(ship_lines(found, folder=tmp_path))
    told = run_json(found, folder=tmp_path, status="finished")["front"]
    assert isinstance(told, list)
    assert sorted(member["name"] for member in told if member["weights"] is not None) == having
