"""One evaluation of a network, watched: told of on its way, and stopped where it falls behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mnv2search.accuracy.types import AccuracyEvaluator, metric_text
from mnv2search.cost import cost_of
from mnv2search.evaluation import Budget, Evaluation, completed, no_report
from mnv2search.latency.types import Latency
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.study.successive_halving import Rungs

__all__ = ["watched"]


def watched(
    spec: ModelSpec,
    latency: Latency | None,
    *,
    budget: Budget,
    seed: int,
    evaluator: AccuracyEvaluator | None,
    rungs: Rungs | None,
    tell: Callable[[str], None] | None,
) -> Evaluation:
    """The network with its figures, as far as they were worth their time.

    Args:
        spec: the network.
        latency: as measured; None where that was not worth it.
        budget: what it may cost.
        seed: of a training.
        evaluator: is asked for the accuracy where the network fits; None asks nobody.
        rungs: what the trainings of others reached on the way; None lets every training end.
        tell: hears in words where the evaluation stands; None where there is nothing on the way.

    Raises:
        EvaluatorError: the accuracy cannot be determined.
    """
    watch = rungs.watch(latency.median_ms) if rungs and latency else None

    def report(step: int, value: float) -> None:
        if tell is not None and evaluator is not None:
            tell(f"{spec.name}: {100 * value:.1f} % {metric_text(evaluator.info.metric)} at step {step}")
        (watch or no_report)(step, value)

    if tell is not None and evaluator is not None:
        tell(f"{spec.name}: evaluation begins")
    found = completed(
        spec, cost=cost_of(spec), latency=latency, budget=budget, seed=seed, evaluator=evaluator, report=report
    )
    if rungs and watch and watch.curve:
        expected = rungs.expected(watch.curve) if found.accuracy is None else None
        found = replace(found, curve=watch.curve, expected=expected)
    return found
