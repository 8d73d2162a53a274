"""Search from Python, with a results folder as on the command line, or without writing files."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from mnv2search.accuracy.evaluator import AccuracyEvaluator
from mnv2search.evaluation import Budget
from mnv2search.latency.types import LatencyDevice
from mnv2search.spec.space import SearchSpace
from mnv2search.spec.yaml.codec import load_space
from mnv2search.study.types import Listener, Progress, SearchResult, Settings
from mnv2search.workflows.options import takes
from mnv2search.workflows.search.options import DEFAULTS, RunOptions
from mnv2search.workflows.search.request import request_of, space_of_evaluator
from mnv2search.workflows.weights import with_chosen_weights

if TYPE_CHECKING:
    from mnv2search.results.outcome import Outcome


@takes(RunOptions, DEFAULTS)
def run(
    *,
    on_progress: Callable[[Progress], None] = lambda _: None,
    on_note: Callable[[str], None] = lambda _: None,
    **options: Unpack[RunOptions],
) -> Outcome:
    """Search for the most accurate networks within a latency budget, as `mnv2search run` does.

    Args:
        options: see `RunOptions`.
        on_progress: called with the progress of the search.
        on_note: called with messages for the user.

    Raises:
        OptionError: options contradict each other, or nothing can be searched with them.
        RecordError: the folder belongs to another command, or cannot be written.
        DeviceError: the device cannot be used.
        EvaluatorError: an accuracy cannot be determined.
    """
    request = request_of(options)
    # late: loading takes seconds, and mistakes in the options are reported before
    from mnv2search.workflows.search.run import run as run_request

    return confirm_outcome(run_request(request, on_progress=on_progress, on_note=on_note))


def load_run(folder: str | Path) -> Outcome:
    """The results of a run from its records, as `mnv2search front` shows them; nothing is measured.

    Args:
        folder: folder of a run, or its name in `results`.

    Raises:
        RecordError: the folder is not that of a run, or a file in it is damaged.
        SpecError: the manifest has a broken space.
    """
    from mnv2search.results.checks import CONFIRMATION, read_confirmations
    from mnv2search.results.finetuning import finetuned_of_run
    from mnv2search.results.outcome import Outcome
    from mnv2search.workflows.search.log import recall, run_folder

    path = run_folder(folder)
    manifest, result = recall(path)
    return Outcome(
        folder=path,
        manifest=manifest,
        result=result,
        already_finished=True,
        finetuned=finetuned_of_run(path, result),
        confirmations=read_confirmations(path / CONFIRMATION),
    )


def confirm_outcome(
    outcome: Outcome,
    *,
    on_begin: Callable[[str, int], None] = lambda _converter, _count: None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Outcome:
    """Add `confirmations` of the front and the trained networks to an outcome, or a note on why there are none.

    `on_begin` is called before the first network with the converter and the number of networks, since a comparison
    takes long; `on_progress` is called after every network with the number of finished networks.
    """
    from mnv2search.errors import DeviceError
    from mnv2search.workflows.search.checks.confirm import confirm_front
    from mnv2search.workflows.search.outputs import write_report
    from mnv2search.workflows.search.report.write import run_report_of

    manifest, result = outcome.manifest, outcome.result
    if outcome.already_finished or not result.front or not manifest.settings.confirm:
        return outcome
    trained = () if outcome.finetuned is None else outcome.finetuned.front
    specs = list(dict.fromkeys(evaluation.spec for evaluation in (*result.front, *trained)))
    try:
        found = confirm_front(
            outcome.folder,
            specs,
            device=manifest.device.name,
            on_begin=lambda converter: on_begin(converter, len(specs)),
            on_progress=on_progress,
        )
    except DeviceError as error:
        why = f"the front was not compared with the runtime's own converter: {error.message}\nhint: {error.hint}"
        return replace(outcome, notes=(*outcome.notes, why))
    if found:
        write_report(run_report_of(outcome.folder, manifest, result, outcome.finetuned))
    return replace(outcome, confirmations=found or ())


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

    If the evaluator learns from data, the networks get as many outputs as the data has classes.

    Args:
        space: a search space, a file, or a bundled name.
        budget: limits, or the latency alone in ms.
        device: a device, or text for `open_device`; a device given as text is closed at the end.
        evaluator: an evaluator, or text for `open_evaluator`.
        trials: networks to evaluate.
        time_s: wall time for everything.
        sampler: ``hybrid``, or one of Optuna's.
        seed: random seed of the search.
        listener: called with every finished evaluation.

    Raises:
        OptionError: neither `trials` nor `time_s` is given, no training fits the time, a limit is not a number
            above 0, or the head of the networks does not suit the data.
        DeviceError: the device cannot run a network.
        EvaluatorError: an accuracy cannot be determined.
    """
    from mnv2search.accuracy.registry import open_evaluator  # late, here and below: they take a second to load
    from mnv2search.latency.registry import open_device
    from mnv2search.study.engine import Search

    with open_device(device) if isinstance(device, str) else nullcontext(device) as opened:
        whole = load_space(space) if isinstance(space, str) else space
        judge = open_evaluator(with_chosen_weights(evaluator, whole)[0]) if isinstance(evaluator, str) else evaluator
        return Search(
            space_of_evaluator(whole, judge),
            device=opened,
            evaluator=judge,
            budget=budget if isinstance(budget, Budget) else Budget(latency_ms=float(budget)),
            settings=Settings(trials=trials, time_s=time_s, sampler=sampler, seed=seed),
            listener=listener,
        ).run()
