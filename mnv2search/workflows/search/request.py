"""The request of a search, from its options or from the folder of a run."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

from mnv2search import plugins
from mnv2search.accuracy.evaluator import AccuracyEvaluator, Evaluator
from mnv2search.errors import OptionError, RecordError, UnknownNameError
from mnv2search.evaluation import Budget
from mnv2search.latency.device_text import SEPARATOR, device_text
from mnv2search.results.manifest import MANIFEST, read_manifest
from mnv2search.spec.classes import HEAD_OF_METRIC, space_with_classes
from mnv2search.spec.model_spec import Classifier, DeepLab, SsdLite
from mnv2search.spec.space import SearchSpace
from mnv2search.spec.yaml.codec import load_space
from mnv2search.study.deadline import seconds_of
from mnv2search.study.types import Settings
from mnv2search.workflows.search.options import DEFAULTS, WITH_RESUME, RunOptions
from mnv2search.workflows.search.ray_workers import LOCAL, check_launcher
from mnv2search.workflows.weights import WITH_WEIGHTS, is_file_name, with_chosen_weights

# Value of `Request.round_to` that lets the device decide.
AUTO = 0
DEFAULT_TIME_S = 90.0
DEFAULT_DATA_TIME_S = 1200.0
# Shortest time of a search with shared weights; a shorter one spends most of it on images and on the device's start.
LEAST_S_TO_SHARE = 30.0
# Shortest search with separate trainings of all candidates, at the end of which some are trained further by default.
LEAST_S_TO_FINETUNE = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Settings of a run; see `RunOptions`.

    Attributes:
        root: folder that holds the folders of runs.
        command: arguments of the command line, for the manifest.
        finetunes: at the end, fine-tune the most accurate networks of the front separately, and ship the best.
        confirms: at the end, compare the front with the runtime's own converter.
        round_to: multiple of channels; `AUTO` probes the device, None keeps that of the space.
        notes: lines about the initial weights, for a new run.
        workers: number of worker processes on this machine; None starts one with a `storage`, and none without.
        storage: storage of the workers; empty uses a file in the folder of the run.
        weights_store: place of shared weights for workers; empty uses the folder of the run.
        launcher: where the workers run; see `RunOptions`.
    """

    space: str | SearchSpace
    device: str
    evaluator: str
    budget: Budget
    settings: Settings
    root: Path
    name: str | None = None
    command: tuple[str, ...] = ()
    force: bool = False
    finetunes: bool = False
    confirms: bool = True
    round_to: int | None = None
    notes: tuple[str, ...] = ()
    workers: int | None = None
    storage: str = ""
    weights_store: str = ""
    launcher: str = LOCAL


def request_of(given: RunOptions, *, command: tuple[str, ...] = ()) -> Request:
    """Convert options to a request, with cheap checks; `command` is the command line, for the manifest.

    Raises:
        OptionError: options contradict each other, or a required option is missing.
        UnknownNameError: a space, a device or an evaluator is not known.
        RecordError: there is no run to resume, or it is not trusted.
    """
    options: RunOptions = {**DEFAULTS, **given}
    if (resume := options.get("resume")) is not None:
        return _resumed(resume, options, given.keys())
    if options["trust"]:
        raise OptionError("--trust applies only to --resume: leave it out", hint="leave out --trust")
    budget, evaluator = _budget(options), evaluator_of(options)
    device = device_text(options["device"], options.get("precision"))
    _check_names(options, device, evaluator)
    evaluator, notes = _with_weights(options, evaluator)
    trials, time_s = options.get("trials"), seconds_of(options.get("time"))
    if time_s is None and trials is None:
        time_s = DEFAULT_TIME_S if options.get("data") is None else DEFAULT_DATA_TIME_S
    _check_workers(options)
    if time_s is not None and time_s < LEAST_S_TO_SHARE and evaluator.partition(":")[0] == "supernet":
        raise OptionError(
            f"{time_s:g} s are too short for a search with shared weights",
            hint="give --time 2m or more; 20m is the default",
        )
    finetune = options.get("finetune")
    return Request(
        space=options["space"],
        device=device,
        evaluator=evaluator,
        budget=budget,
        settings=Settings(trials=trials, time_s=time_s, sampler=options["sampler"], seed=options["seed"]),
        root=Path(options["output_dir"]),
        name=options.get("name"),
        command=command,
        force=options["force"],
        finetunes=_is_finetuned(evaluator, time_s) if finetune is None else finetune,
        confirms=options.get("confirm") is not False,
        round_to=_round_to(options.get("round_to")),
        notes=notes,
        workers=options.get("workers"),
        storage=options.get("storage") or "",
        weights_store=options.get("weights_store") or "",
        launcher=options["launcher"],
    )


def _check_workers(options: RunOptions) -> None:
    workers, storage = options.get("workers"), options.get("storage")
    check_launcher(options["launcher"], storage or "")
    if workers == 0 and not storage:
        raise OptionError("--workers 0 needs --storage, so that other workers can join", hint="give --storage FILE")


def _is_finetuned(evaluator: str, time_s: float | None) -> bool:
    """Whether the best networks are trained further by default: a short search needs all time for its candidates."""
    name = evaluator.partition(":")[0]
    least_s = 0.0 if name == "supernet" else LEAST_S_TO_FINETUNE
    return name in WITH_WEIGHTS and time_s is not None and time_s >= least_s


def _with_weights(options: RunOptions, evaluator: str) -> tuple[str, tuple[str, ...]]:
    """The text of the evaluator, with names of weights replaced by their files, and notes for the user."""
    if options["space"] != "-":
        return with_chosen_weights(evaluator, _space_of(options))
    if (name := options.get("from_")) is not None and not is_file_name(name):
        raise OptionError(f"--from {name} needs a space that can be read twice", hint="give the space as a file")
    return evaluator, ()


def _budget(options: RunOptions) -> Budget:
    if (latency_ms := options.get("latency_ms")) is None:
        raise OptionError("there is no budget", hint="give --latency-ms MS for a new run, or --resume NAME to resume")
    peak_kb, size_kb = options.get("peak_kb"), options.get("size_kb")
    return Budget(
        latency_ms=latency_ms,
        latency_min_ms=options.get("latency_min_ms"),
        params=options.get("params"),
        madds=options.get("madds"),
        peak_activation_bytes=None if peak_kb is None else int(1000 * peak_kb),
        size_bytes=None if size_kb is None else int(1000 * size_kb),
    )


def evaluator_of(options: RunOptions) -> str:
    """Text that opens the evaluator with the given name, or else the default one for data and space."""
    name, _, text = (options.get("accuracy") or _default_evaluator(options)).partition(":")
    _check_evaluator(options, name)
    if name == "train" and "task=" not in text and options.get("space") != "-" and (task := _task(options)):
        text = f"task={task},{text}".removesuffix(",")
    given = {"data": options.get("data"), "weights": options.get("from_"), "weights_spec": options.get("from_spec")}
    added = [f"{key}={value}" for key, value in given.items() if value is not None]
    for one in added:
        if "," in one:
            raise OptionError(
                f"the path {one.partition('=')[2]!r} contains a comma", hint="rename it, or give a link"
            )
    arguments = ",".join([*added, text]).strip(",")
    return f"{name}:{arguments}" if arguments else name


def _check_evaluator(options: RunOptions, name: str) -> None:
    if options.get("data") is not None and name not in WITH_WEIGHTS:
        raise OptionError(f"--accuracy {name} does not take --data", hint="leave out one of the two")
    weights, weights_spec = options.get("from_"), options.get("from_spec")
    if (weights or weights_spec) and name not in WITH_WEIGHTS:
        raise OptionError("--from applies only to a search on images", hint="add --data DATA")
    if weights_spec and not weights:
        raise OptionError(
            "--from-spec names the network that the weights of --from belong to", hint="add --from FILE"
        )


def _default_evaluator(options: RunOptions) -> str:
    """The default evaluator: with data, a supernet for classifiers, separate trainings for other networks."""
    if options.get("data") is None:
        return "imagenet"
    head = _space_of(options).template.head
    if isinstance(head, SsdLite):
        return "train-dense:task=detection"
    return "train-dense:task=segmentation" if isinstance(head, DeepLab) else "supernet"


def _task(options: RunOptions) -> str:
    """Name of the task that suits the head of a space; empty for classifiers, the default of `train`."""
    template = _space_of(options).template
    if template.head is None or type(template.head) is Classifier:
        return ""
    from mnv2search.tasks.task import task_of  # late: it loads torch

    return task_of(template).name


def _space_of(options: RunOptions) -> SearchSpace:
    space = options.get("space", DEFAULTS["space"])
    return load_space(space) if isinstance(space, str) else space


def _check_names(options: RunOptions, device: str, evaluator: str) -> None:
    """Refuse an unknown space, device or evaluator before heavy packages are loaded."""
    if options["space"] != "-":  # it can be read only once
        _space_of(options)
    asked = [("evaluator", evaluator.partition(":")[0])]
    asked += [("device", text.partition("@")[0].partition(":")[0].strip()) for text in device.split(SEPARATOR)]
    for kind, name in asked:
        if name not in (known := plugins.names(kind)):
            raise UnknownNameError(kind, name, known)


def _round_to(given: str | int | None) -> int | None:
    if given is None:
        return None
    if given != "auto" and str(given) not in ("1", "2", "4", "8", "16", "32"):
        raise OptionError(f"round_to is {given!r}", hint="use auto, 1, 2, 4, 8, 16 or 32")
    return AUTO if given == "auto" else int(given)


def resumed_folder(resume: str | Path, output_dir: str | Path) -> Path:
    """The folder of the run that `resume` names: a path, or a name in `output_dir`."""
    return Path(resume) if Path(resume).parent != Path() else Path(output_dir) / resume


def _resumed(resume: str | Path, options: RunOptions, given: Collection[str]) -> Request:
    for option in given:
        if option not in WITH_RESUME:
            raise OptionError(
                f"--{option.strip('_').replace('_', '-')} cannot be given with --resume",
                hint="a run continues as it began, longer with --time or --trials",
            )
    request = resume_request(resumed_folder(resume, options["output_dir"]), trusts=options["trust"])
    trials, time_s = options.get("trials"), seconds_of(options.get("time"))
    if trials is not None or time_s is not None:
        request = replace(request, settings=replace(request.settings, trials=trials, time_s=time_s))
    confirm = options.get("confirm")
    storage, launcher = options.get("storage") or "", options["launcher"]
    check_launcher(launcher, storage)
    request = replace(
        request,
        workers=options.get("workers"),
        storage=storage,
        weights_store=options.get("weights_store") or "",
        launcher=launcher,
    )
    return request if confirm is None else replace(request, confirms=confirm)


def resume_request(folder: Path, *, settings: Settings | None = None, trusts: bool = False) -> Request:
    """Request to resume the run of a folder, from its manifest; `settings` override those of the manifest.

    With `trusts`, the folder may run programs, connect to machines and read data even if someone else made it.

    Raises:
        RecordError: the manifest is missing, cannot be read, or is not trusted.
    """
    manifest = read_manifest(folder)
    from mnv2search.workflows.search.log import space_of_run  # late: a missing folder is reported at once
    from mnv2search.workflows.search.trust import check_trust

    if not trusts:
        check_trust(folder, manifest, hint=f"check {folder / MANIFEST}; if you trust it, add --trust")
    kept = manifest.settings
    if kept.trials is None and kept.time_s is None:
        raise RecordError(
            f"{folder / MANIFEST}: neither trials nor time_s is set", hint="give one: --trials 200 or --time 90s"
        )
    recorded = Settings(
        trials=kept.trials, time_s=kept.time_s, sampler=kept.sampler, seed=kept.seed, batch=kept.batch
    )
    return Request(
        space=space_of_run(folder, manifest),
        device=manifest.device.name,
        evaluator=manifest.evaluator,
        budget=manifest.budget,
        settings=settings or recorded,
        root=folder.parent,
        name=folder.name,
        command=manifest.command,
        finetunes=kept.finetune,
        confirms=kept.confirm,
    )


def space_of_evaluator(
    space: SearchSpace, evaluator: AccuracyEvaluator, *, on_note: Callable[[str], None] = lambda _: None
) -> SearchSpace:
    """The space fitted to the evaluator's data, if it has any: its classes, and the anchors of detectors.

    `on_note` is called with a message about fitted anchors.

    Raises:
        OptionError: the head of the networks does not suit the data.
    """
    if isinstance(evaluator, Evaluator) and evaluator.task is not None:
        fitted, message = evaluator.task.fitted_space(space, evaluator.dataset)
        if message:
            on_note(message)
        return fitted
    info = evaluator.info
    if info.classes is None:
        return space
    return space_with_classes(space, info.classes, head=HEAD_OF_METRIC[info.metric])
