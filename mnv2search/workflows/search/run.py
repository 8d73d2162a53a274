"""Run a search in a results folder, or resume it."""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mnv2search.accuracy.evaluator import Evaluator
from mnv2search.accuracy.registry import open_evaluator
from mnv2search.errors import DeviceError, OptionError
from mnv2search.latency.prediction.cache import LatencyCache
from mnv2search.latency.registry import open_device
from mnv2search.latency.types import LatencyDevice
from mnv2search.report.search.front import best_rival
from mnv2search.results.finetuning import Finetuned, finetuned_of_run
from mnv2search.results.manifest import MANIFEST, Manifest, RunSettings, Status, read_manifest
from mnv2search.results.outcome import Outcome
from mnv2search.results.stages.block_times import BLOCK_TIMES, write_block_times
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.rules import name_problem
from mnv2search.spec.space import SearchSpace
from mnv2search.spec.yaml.codec import dumps, load_space
from mnv2search.study.baseline import baseline_grid
from mnv2search.study.deadline import Deadline
from mnv2search.study.results import result_of
from mnv2search.study.types import Evaluated, Listener, Phase, Progress, SearchResult, Settings, Storage
from mnv2search.untrusted import MAX_NAME_BYTES, file_name
from mnv2search.workflows.devices.block_times import block_times_of
from mnv2search.workflows.devices.probe import probe_device
from mnv2search.workflows.search.finetuning.time_shares import TimeDivision, TimeShares
from mnv2search.workflows.search.folder import STUDY_FILE, WORK, failures_recorded, locked, open_run
from mnv2search.workflows.search.log import ENDED, RunLog, recorded, remaining_settings, space_of_run
from mnv2search.workflows.search.outputs import write_outputs, write_report
from mnv2search.workflows.search.report.write import run_report_of
from mnv2search.workflows.search.request import AUTO, Request, resume_request, space_of_evaluator
from mnv2search.workflows.search.shipping import check_finetuning, set_aside, train_best
from mnv2search.workflows.search.trust import remember

if TYPE_CHECKING:
    from mnv2search.study.engine import Search

__all__ = ["AUTO", "STUDY_FILE", "Outcome", "Request", "resume_request", "run"]

# Time to probe which multiple of channels is fast on a device.
PROBE_S = 60.0
PACKAGES = ("mnv2search", "torch", "onnx", "onnxruntime", "optuna", "numpy")


def run(
    request: Request,
    *,
    on_progress: Callable[[Progress], None],
    on_folder: Callable[[Path], None] = lambda _: None,
    on_note: Callable[[str], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Run a search, or resume an interrupted one; see `mnv2search.workflows.search.api.run`.

    Every finished evaluation is on disk before the next begins, so that an interruption loses only unfinished
    evaluations. KeyboardInterrupt marks the manifest as interrupted and is raised again. `on_folder` is called as
    soon as the folder is known; `on_note` is called with messages for the user, such as how many trainings fit.
    """
    space = load_space(request.space) if isinstance(request.space, str) else request.space
    name = default_name(space, request) if request.name is None else request.name
    if (problem := name_problem(name, max_bytes=MAX_NAME_BYTES)) is not None:
        raise OptionError(problem.what.replace("name is", "the name of the run is", 1), hint=problem.fix)
    folder = request.root / name
    with open_device(request.device) as device:
        space = _rounded(space, request, device, folder)
        began_s = clock()  # reading images counts
        evaluator = open_evaluator(request.evaluator)
        if request.finetunes:
            check_finetuning(request.settings, evaluator)
        space = space_of_evaluator(space, evaluator, on_note=on_note)
        evaluator.check_space(space)
        manifest = _manifest(request, space, device, evaluator, folder.name)
        for text in remember(manifest):
            on_note(text)
        for text in () if (folder / MANIFEST).exists() and not request.force else request.notes:
            on_note(text)
        with locked(folder):
            manifest = open_run(folder, manifest, force=request.force)
            on_folder(folder)
            evaluator.keep_weights(folder / WORK)
            told = Listener(evaluated=lambda _: None, progress=on_progress, noted=on_note)
            with failures_recorded(folder):
                outcome = _searched(folder, manifest, request, space, device, evaluator, told, began_s, clock)
    return replace(outcome, notes=(*_rounding(request, space), *outcome.notes))


def default_name(space: SearchSpace, request: Request) -> str:
    """A folder name from space, budget and device.

    Other characters than letters, digits, dots, dashes and underscores are replaced.
    """
    words = [Path(space.name).name, f"{request.budget.latency_ms:g}ms"]
    if request.device != "onnxruntime":
        words.append(request.device)
    if request.settings.sampler != "hybrid":
        words.append(request.settings.sampler)
    text = "".join(c if c.isalnum() or c in ".-_" else "-" for c in "-".join(words))
    return file_name(text.strip("-.") or "run")


def _rounded(space: SearchSpace, request: Request, device: LatencyDevice, folder: Path) -> SearchSpace:
    """The space with its channels rounded as requested; a resumed run keeps the multiple found when it began."""
    divisor = request.round_to
    if divisor == AUTO:
        if (folder / MANIFEST).exists() and not request.force:
            divisor = space_of_run(folder, read_manifest(folder)).template.channel_divisor
        else:
            divisor = probe_device(device, time=PROBE_S).round_to
    if divisor is None:
        return space
    return SearchSpace(template=replace(space.template, channel_divisor=divisor), axes=space.axes)


def _rounding(request: Request, space: SearchSpace) -> tuple[str, ...]:
    if request.round_to is None:
        return ()
    why = "the fastest on this device" if request.round_to == AUTO else "as requested"
    return (f"scaled channels are rounded to multiples of {space.template.channel_divisor}, {why}",)


def _searched(
    folder: Path,
    manifest: Manifest,
    request: Request,
    space: SearchSpace,
    device: LatencyDevice,
    evaluator: Evaluator,
    told: Listener,
    began_s: float,
    clock: Callable[[], float],
) -> Outcome:
    previous, whole_s = recorded(folder, space), request.settings.time_s
    division = TimeDivision(request.settings, evaluator, clock)
    remaining = _remaining(folder, request, division, manifest, previous)
    left = remaining()
    if goes_beyond := left is not None and manifest.status in ENDED:
        manifest = replace(manifest, status="running")  # until it is finished again, even after a kill
    log = RunLog(folder, manifest, clock=clock)
    if left is None:
        result = result_of(previous, grid=baseline_grid(space), elapsed_s=log.earlier_s)
        return _finished_before(folder, manifest, result)
    from mnv2search.study.engine import Search  # late: a finished run does not pay for Optuna
    from mnv2search.workflows.search.workers import worker_pool

    charged: set[Phase] = {"finetune", "preparation"} if evaluator.method == "shared weights" else {"finetune"}

    def evaluated(item: Evaluated) -> None:
        log.evaluated(item, elapsed_s=clock() - began_s)

    def progressed(progress: Progress) -> None:
        if progress.phase in charged:
            log.charge(clock() - began_s)
        told.progress(_left_of_whole(progress, log, whole_s) if request.finetunes else progress)

    def limit(spec: ModelSpec) -> float | None:
        division.fit(spec)
        fitted = remaining()
        return None if fitted is None else fitted.time_s

    with worker_pool(folder, manifest, evaluator, request, noted=told.noted) as pool:
        search = Search(
            space,
            device=device,
            evaluator=evaluator,
            budget=request.budget,
            settings=left,
            listener=Listener(evaluated=evaluated, progress=progressed, noted=told.noted),
            storage=Storage(
                previous=previous, study_path=folder / STUDY_FILE, work=folder / WORK, cache=LatencyCache()
            ),
            clock=clock,
            spent_s=clock() - began_s,
            limit=limit if request.finetunes else None,
            pool=pool,
        )
        if request.finetunes and goes_beyond:
            set_aside(folder)
        result, notes = _result(search, log)
    outcome = _finished(folder, request, result, device, evaluator, log, division.shares, progressed, clock)
    return replace(outcome, notes=(*notes, *outcome.notes))


def _result(search: Search, log: RunLog) -> tuple[SearchResult, tuple[str, ...]]:
    """The result of a search, and notes; an interruption is written to the log."""
    try:
        result = search.run()
    except KeyboardInterrupt:
        log.interrupt()
        raise
    finally:
        notes = _saved(search)
    return result, notes


def _finished_before(folder: Path, manifest: Manifest, result: SearchResult) -> Outcome:
    found = finetuned_of_run(folder, result)
    return Outcome(folder=folder, manifest=manifest, result=result, already_finished=True, finetuned=found)


def _remaining(
    folder: Path, request: Request, division: TimeDivision, manifest: Manifest, previous: Sequence[Evaluated]
) -> Callable[[], Settings | None]:
    """A function that returns the settings for the rest of the search, by the current division of the time."""
    held_s = read_manifest(folder).settings.time_s if (folder / MANIFEST).exists() else None

    def remaining() -> Settings | None:
        settings, whole_s = division.of_search if request.finetunes else request.settings, request.settings.time_s
        return remaining_settings(settings, whole_s=whole_s, held_s=held_s, manifest=manifest, previous=previous)

    return remaining


def _left_of_whole(progress: Progress, log: RunLog, whole_s: float | None) -> Progress:
    if whole_s is None or progress.phase == "finetune":
        return progress
    return replace(progress, left_s=max(0.0, whole_s - log.earlier_s - progress.elapsed_s))


def _finished(
    folder: Path,
    request: Request,
    result: SearchResult,
    device: LatencyDevice,
    evaluator: Evaluator,
    log: RunLog,
    shares: TimeShares,
    on_progress: Callable[[Progress], None],
    clock: Callable[[], float],
) -> Outcome:
    whole = Deadline(request.settings.time_s, clock=clock, spent_s=log.earlier_s + result.elapsed_s)
    earlier = finetuned_of_run(folder, result) if request.finetunes else None
    log.check()
    write_outputs(folder, result, budget=request.budget, ships=earlier is None)
    log.write(replace(log.manifest, elapsed_s=whole.elapsed_s))
    try:
        finetuned, untrained = train_best(
            folder,
            result,
            evaluator,
            earlier=earlier,
            deadline=whole if request.finetunes else None,
            shares=shares,
            seed=request.settings.seed,
            on_progress=on_progress,
        )
    except KeyboardInterrupt:
        log.manifest = replace(log.manifest, elapsed_s=whole.elapsed_s)
        log.interrupt()
        raise
    untimed = _time_blocks(folder, device, result, finetuned)
    result = replace(result, elapsed_s=whole.elapsed_s, notes=(*result.notes, *untrained, *untimed))
    status: Status = "finished" if result.front else "nothing fits"
    manifest = replace(
        log.manifest,
        status=status,
        finished_at=_now(),
        elapsed_s=whole.elapsed_s,
        accuracy_detail=evaluator.info.detail,
    )
    log.check()
    write_report(run_report_of(folder, manifest, result, finetuned))
    log.write(manifest)
    return Outcome(folder=folder, manifest=log.manifest, result=result, finetuned=finetuned, notes=result.notes)


def _time_blocks(
    folder: Path, device: LatencyDevice, result: SearchResult, finetuned: Finetuned | None
) -> tuple[str, ...]:
    """Measure the time of blocks of the front and of its rival, the network to ship first; a note if that fails."""
    shipped = () if finetuned is None else (finetuned.trained[finetuned.best],)
    ship = () if result.ship is None else (result.ship,)
    rivals = [best_rival(one, result.rivals_of(one)) for one in ship]
    networks = (*shipped, *ship, *result.front, *(one for one in rivals if one is not None))
    try:
        times = block_times_of(device, list(dict.fromkeys(one.spec for one in networks)))
    except DeviceError as error:
        return (f"the times of blocks could not be measured: {error.message}",)
    if times:
        write_block_times(folder / BLOCK_TIMES, times)
    return ()


def _saved(search: Search) -> tuple[str, ...]:
    """Save the measurements of the device to the cache; returns notes, instead of failing, if that is impossible."""
    try:
        search.save_to_cache()
    except OSError as error:
        return (f"the latency cache cannot be written ({error}): the next run measures this device again",)
    return ()


def _manifest(
    request: Request, space: SearchSpace, device: LatencyDevice, evaluator: Evaluator, name: str
) -> Manifest:
    versions = {package: importlib.metadata.version(package) for package in PACKAGES}
    settings = request.settings
    return Manifest(
        name=name,
        command=request.command,
        versions={"python": platform.python_version(), **versions},
        device=device.info,
        evaluator=evaluator.info.name,
        budget=request.budget,
        seed=settings.seed,
        space_name=space.name,
        space=dumps(space),
        created_at=_now(),
        settings=RunSettings(
            trials=settings.trials,
            time_s=settings.time_s,
            sampler=settings.sampler,
            seed=settings.seed,
            batch=settings.batch,
            finetune=request.finetunes,
            confirm=request.confirms,
        ),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
