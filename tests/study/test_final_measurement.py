"""The front is made of what is measured side by side at the end, and of nothing measured before."""

from __future__ import annotations

import pytest

from mnv2search.accuracy.registry import open_evaluator
from mnv2search.evaluation import Budget
from mnv2search.latency.measuring.timing import REFERENCE, Measurer
from mnv2search.latency.runtimes.simulated import SimulatedDevice
from mnv2search.latency.types import Runner
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.yaml.codec import load_space
from mnv2search.study.engine import Search
from mnv2search.study.types import Evaluated, Listener, SearchResult, Settings

TRIALS = 13


class Slowing(SimulatedDevice):
    """Every network but the reference becomes slower by a factor, once that is set."""

    factor = 1.0

    def prepare(self, spec: ModelSpec) -> Runner:
        run, clock = super().prepare(spec), self._time

        def slow() -> None:
            begin = clock.wall_ns()
            run()
            more = round((self.factor - 1) * (clock.wall_ns() - begin))
            clock.advance(wall_ns=more, cpu_ns=more)

        return run if spec == REFERENCE else slow


@pytest.fixture(scope="module")
def found() -> tuple[SearchResult, list[Evaluated]]:
    """A search on a device that becomes slower between the search and the final measurement."""
    items: list[Evaluated] = []
    device = Slowing()

    def hear(item: Evaluated) -> None:
        items.append(item)
        device.factor = 1.5 if sum(bool(one.pick) for one in items) >= TRIALS else 1.0

    result = Search(
        load_space("mnv2-multipliers"),
        device=device,
        evaluator=open_evaluator("imagenet"),
        budget=Budget(latency_ms=50.0),
        settings=Settings(trials=TRIALS),
        listener=Listener(evaluated=hear, progress=lambda _: None),
    ).run()
    return result, items


def test_no_latency_of_the_search_is_on_the_front(found: tuple[SearchResult, list[Evaluated]]) -> None:
    result, items = found
    before = {i.evaluation.spec: i.evaluation.latency for i in items if i.pick}
    ratios = [e.latency.median_ms / was.median_ms for e in result.front if e.latency and (was := before[e.spec])]
    assert ratios == pytest.approx([1.5] * len(result.front))
    assert result.front


def test_rivals_are_measured_again_beside_the_front(found: tuple[SearchResult, list[Evaluated]]) -> None:
    _, items = found
    before = {i.evaluation.spec: i.evaluation.latency for i in items if i.stage == "baseline"}
    again = {i.evaluation.spec: i.evaluation.latency for i in items if i.stage == "final-baseline"}
    ratios = [now.median_ms / was.median_ms for spec, now in again.items() if now and (was := before[spec])]
    assert ratios == pytest.approx([1.5] * 3)


def test_the_final_measurement_is_that_of_a_process_that_measured_nothing_before(
    found: tuple[SearchResult, list[Evaluated]],
) -> None:
    _, items = found
    final = [i.evaluation for i in items if i.stage in ("final", "final-baseline")]
    device = Slowing()
    device.factor = 1.5
    fresh = Measurer(device).measure([e.spec for e in final], budget_ms=50.0)
    assert [e.latency.samples for e in final if e.latency] == [one.samples for one in fresh]
    assert [e.latency.ci_high_ms for e in final if e.latency] == pytest.approx([one.ci_high_ms for one in fresh])
