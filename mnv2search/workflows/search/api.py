"""A search from Python: names or objects in, a result out, nothing written."""

from __future__ import annotations

from contextlib import ExitStack

from mnv2search.accuracy.registry import open_evaluator
from mnv2search.accuracy.types import AccuracyEvaluator
from mnv2search.evaluation import Budget
from mnv2search.latency.registry import open_device
from mnv2search.latency.types import LatencyDevice
from mnv2search.spec.space import SearchSpace
from mnv2search.spec.yaml.codec import load_space
from mnv2search.study.engine import Search
from mnv2search.study.types import Listener, SearchResult, Settings
from mnv2search.workflows.search.space_of import space_of_evaluator

__all__ = ["search"]


def search(
    space: SearchSpace | str = "mnv2",
    *,
    budget: Budget | float,
    device: LatencyDevice | str = "onnxruntime",
    evaluator: AccuracyEvaluator | str = "imagenet",
    trials: int | None = None,
    time_s: float | None = None,
    sampler: str = "hybrid",
    seed: int = 0,
    listener: Listener | None = None,
) -> SearchResult:
    """The Pareto front of a space within a budget, measured on a device.

    Where the evaluator learns from data, the networks get its classes, as in a run.

    Args:
        space: a search space, a file, or a bundled name.
        budget: limits, or the latency alone in ms.
        device: what to measure on; text is opened and closed here.
        evaluator: what tells accuracies; text is opened here.
        trials: networks to evaluate.
        time_s: wall time for everything.
        sampler: ``hybrid``, or one of Optuna's.
        seed: of every random choice.
        listener: hears of every finished evaluation.

    Raises:
        OptionError: neither `trials` nor `time_s` is given, no training fits the time, or a limit is not a number
            above 0; the networks have another head than the data asks for.
        DeviceError: the device cannot run a network.
        EvaluatorError: an accuracy cannot be determined.
    """
    with ExitStack() as stack:
        opened: LatencyDevice
        if isinstance(device, str):
            opened = open_device(device)
            stack.enter_context(opened)
        else:
            opened = device
        judge = open_evaluator(evaluator) if isinstance(evaluator, str) else evaluator
        return Search(
            space_of_evaluator(load_space(space) if isinstance(space, str) else space, judge),
            device=opened,
            evaluator=judge,
            budget=budget if isinstance(budget, Budget) else Budget(latency_ms=float(budget)),
            settings=Settings(trials=trials, time_s=time_s, sampler=sampler, seed=seed),
            listener=listener,
        ).run()
