"""`mnv2search run`: search a space under a measured latency budget."""

from __future__ import annotations

import contextlib
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from mnv2search.cli.options import POOL, Count, Duration, Positive, device_option, json_option, quiet_option
from mnv2search.cli.output import answer, emit_json, note, stdout_console

if TYPE_CHECKING:
    from mnv2search.evaluation import Budget
    from mnv2search.workflows.search.run import Outcome


DEFAULT_TIME_S = 90.0
DEFAULT_DATA_TIME_S = 1200.0
SAMPLERS = ("hybrid", "nsga2", "tpe", "gp", "random")
NOTHING_FITS = 3
# What may stand beside --resume; everything else is in the folder's manifest.
WITH_RESUME = {"resume", "trusts", "trials", "time_s", "root", "confirms", "as_json", "quiet"}


@click.command("run")
@click.option("--latency-ms", type=Positive(), metavar="MS", help="Upper limit of the measured latency.")
@click.option("--latency-min-ms", type=Positive(), metavar="MS", help="Lower end of a latency band.")
@click.option("--params", type=Count(), metavar="N", help="Upper limit of parameters, such as 3.4M.")
@click.option("--madds", type=Count(), metavar="N", help="Upper limit of multiply-adds, such as 300M.")
@click.option("--peak-kb", type=Positive(), metavar="KB", help="Upper limit of peak activation memory, fp32.")
@click.option("--size-kb", type=Positive(), metavar="KB", help="Upper limit of weights, fp32.")
@click.option(
    "--space",
    default="mnv2",
    show_default=True,
    metavar="FILE|NAME",
    help="Search space: a file, mnv2, mnv2-multipliers, mnasnet, proxyless, tiny32, ssdlite or deeplab-513.",
)
@click.option(
    "--round-to",
    type=click.Choice(("auto", "1", "2", "4", "8", "16", "32")),
    help="Multiple that scaled channels are rounded to; auto asks the device, which takes up to a minute of its own. "
    "The space's own, mostly 8, if left out.",
)
@device_option
@click.option(
    "--data",
    metavar="DATA",
    help="Your images, see `mnv2search data --help`: search for the networks that are best on them.",
)
@click.option(
    "--accuracy",
    metavar="EVALUATOR",
    help="imagenet (an estimate), supernet, train or train-dense (with --data), command:PROGRAM {spec}, "
    "python:module:function, recorded:TABLE, or proxy (a score and no accuracy). If left out, imagenet; with --data "
    "supernet, or for detectors and segmenters train-dense.",
)
@click.option(
    "--from",
    "weights",
    metavar="FILE",
    help="First weights of a supernet, or of every detector and segmenter that is trained: a .pt file of any network "
    "with as many rows or stages, or published ones.",
)
@click.option("--from-spec", metavar="SPEC", help="The network that published weights of --from belong to.")
@click.option(
    "--finetune/--no-finetune",
    "finetunes",
    default=None,
    help="At the end, train the most accurate networks on their own, all with as many steps, and ship the best; "
    "detectors and segmenters go on from what they learned. The default with --data and a supernet; takes a third of "
    "the time.",
)
@click.option("--trials", type=click.IntRange(1), metavar="N", help="Networks to evaluate.")
@click.option(
    "--time",
    "time_s",
    type=Duration(),
    metavar="TIME",
    help="Wall time for everything but --confirm; 90s (with --data 20m) if no --trials. Give 30s or more: the "
    "MobileNetV2 grid and the first networks of the space are measured once however little it is, even where that "
    "takes longer. Detectors and segmenters are trained within it; what is too short for one training is refused.",
)
@click.option("--sampler", type=click.Choice(SAMPLERS), default="hybrid", show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--name", metavar="NAME", help="Folder of the run; made from space and budget if left out.")
@click.option("--resume", metavar="NAME", help="Go on with an interrupted run.")
@click.option(
    "--trust",
    "trusts",
    is_flag=True,
    help="With --resume: run the programs, connect to the machines and read the data that the folder names, even if "
    "you did not start the run on this machine.",
)
@click.option(
    "--output-dir",
    "root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("results"),
    show_default=True,
    help="Folder that holds the folders of runs.",
)
@click.option(
    "--confirm/--no-confirm",
    "confirms",
    default=True,
    show_default=True,
    help="At the end, compare the front with what the runtime's own converter makes of it. Takes time beyond --time: "
    "with some converters minutes.",
)
@click.option("--force", is_flag=True, help="Begin anew where the folder holds another run.")
@json_option
@quiet_option
def command(
    latency_ms: float | None,
    latency_min_ms: float | None,
    params: int | None,
    madds: int | None,
    peak_kb: float | None,
    size_kb: float | None,
    space: str,
    round_to: str | None,
    device: str,
    data: str | None,
    accuracy: str | None,
    weights: str | None,
    from_spec: str | None,
    finetunes: bool | None,
    trials: int | None,
    time_s: float | None,
    sampler: str,
    seed: int,
    name: str | None,
    resume: str | None,
    trusts: bool,
    root: Path,
    confirms: bool,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Search for the most accurate networks that run within a latency budget, measured on the device.

    Ends with the network to ship and the Pareto front, and then compares every member with what the runtime's own
    converter makes of it. The same command goes on with an interrupted run. Exits with 3 when nothing fits.

    \b
    Example:
      mnv2search run --latency-ms 15
      mnv2search run --latency-ms 15 --time 30s --name quick
      mnv2search run --latency-ms 5 --space tiny32 --data photos/ --time 30m
    """
    if resume is None and (trusts or latency_ms is None):
        raise click.UsageError(
            "--trust applies only to --resume: leave it out"
            if trusts
            else "give --latency-ms MS for a new run, or --resume NAME to resume one"
        )
    from mnv2search.evaluation import Budget  # late: --help must not pay for it

    if resume is not None:
        from mnv2search.results.manifest import read_manifest

        _refuse_other_options()
        resumed = _resumed(resume, root)
        read_manifest(resumed)
    else:
        assert latency_ms is not None
        budget = Budget(
            latency_ms=latency_ms,
            latency_min_ms=latency_min_ms,
            params=params,
            madds=madds,
            peak_activation_bytes=None if peak_kb is None else int(1000 * peak_kb),
            size_bytes=None if size_kb is None else int(1000 * size_kb),
        )
        evaluator = _evaluator(accuracy, data, weights, from_spec, space)
        _refuse_unknown_names(space, device, evaluator)
    # what a search needs takes seconds to load: the mistakes above are told before
    from mnv2search.cli.progress import searching
    from mnv2search.study.types import Settings
    from mnv2search.workflows.search.run import AUTO, Request, resume_request, run

    if resume is not None:
        longer = None
        if trials is not None or time_s is not None:
            recorded = resume_request(resumed, trusts=trusts).settings
            longer = Settings(
                trials=trials, time_s=time_s, sampler=recorded.sampler, seed=recorded.seed, batch=recorded.batch
            )
        request = resume_request(resumed, settings=longer, trusts=trusts)
    else:
        default_s = DEFAULT_TIME_S if data is None else DEFAULT_DATA_TIME_S
        timed = time_s if trials is not None or time_s is not None else default_s
        request = Request(
            space=space,
            device=device,
            evaluator=evaluator,
            budget=budget,
            settings=Settings(
                trials=trials,
                time_s=timed,
                sampler=sampler,
                seed=seed,
            ),
            root=root,
            name=name,
            command=("mnv2search", *sys.argv[1:]),
            force=force,
            finetunes=(evaluator.startswith("supernet") and timed is not None) if finetunes is None else finetunes,
            round_to=None if round_to is None else AUTO if round_to == "auto" else int(round_to),
        )
    folder: list[Path] = []
    told: list[str] = []

    def tell(text: str) -> None:
        told.append(text)
        note(text)

    try:
        # what a user's function prints belongs to the conversation, not to the answer
        with searching(quiet=quiet or as_json) as show, contextlib.redirect_stdout(sys.stderr):
            outcome = run(request, on_progress=show, on_folder=folder.append, on_note=tell)
    except KeyboardInterrupt:
        if folder:
            note(f"interrupted; finished evaluations are kept in {folder[0]}\nto resume: {resume_command(folder[0])}")
        else:
            note("interrupted before anything was begun")
        sys.exit(130)
    result = outcome.result
    _show(outcome, budget=request.budget, as_json=as_json, quiet=quiet)
    for text in outcome.notes:
        if text not in told:
            note(text)
    if confirms and result.front and not outcome.already_finished:
        _confirm(outcome, device=request.device, quiet=quiet or as_json)
    if not result.front:
        sys.exit(NOTHING_FITS)


def _show(outcome: Outcome, *, budget: Budget, as_json: bool, quiet: bool) -> None:
    """The answer: a document, or tables and what to ship."""
    from mnv2search.report.finetuned import finetuned_lines, finetuned_rows
    from mnv2search.report.run import effort_text, nothing_fits_lines, run_json, run_rows, ship_lines
    from mnv2search.report.table import draw
    from mnv2search.results.finetuned import shipped_json

    result, trained = outcome.result, outcome.finetuned
    if as_json:
        document = run_json(result, folder=outcome.folder, status=outcome.manifest.status)
        emit_json(document | ({} if trained is None else shipped_json(trained)))
    elif not result.front:
        answer(nothing_fits_lines(result, budget=budget, status=outcome.manifest.status))
    elif trained is not None:
        draw(run_rows(result), stdout_console())
        draw(finetuned_rows(trained), stdout_console())
        answer([*finetuned_lines(trained, folder=outcome.folder), f"  {effort_text(result)}"])
    else:
        draw(run_rows(result), stdout_console())
        answer(ship_lines(result, folder=outcome.folder))
    if result.front and outcome.already_finished and not as_json:
        note("this run was finished before; a longer --time or more --trials goes on with it", quiet=quiet)


def _evaluator(accuracy: str | None, data: str | None, weights: str | None, from_spec: str | None, space: str) -> str:
    """The text that opens the evaluator."""
    name, _, options = (accuracy or ("imagenet" if data is None else _learning(space))).partition(":")
    if data is not None and name not in ("supernet", "train", "train-dense"):
        raise click.UsageError(f"--accuracy {name} does not take --data: leave out one of the two")
    if (weights or from_spec) and name not in ("supernet", "train-dense"):
        raise click.UsageError("--from is for a search on images, by shared weights or by train-dense: add --data")
    if from_spec and not weights:
        raise click.UsageError("--from-spec says which network the weights of --from belong to: add --from FILE")
    if name == "train" and "task=" not in options and space != "-" and (task := _task(space)):
        options = f"task={task}{',' if options else ''}{options}"
    given = {"data": data, "weights": weights, "weights_spec": from_spec}
    added = [f"{key}={value}" for key, value in given.items() if value is not None]
    for text in added:
        if "," in text:
            raise click.UsageError(f"the path {text.partition('=')[2]!r} holds a comma: rename it, or give a link")
    if not added:
        return f"{name}:{options}" if options else name
    return f"{name}:{','.join([*added, *([options] if options else [])])}"


def _task(space: str) -> str:
    """The task of the networks of a space, by their head; empty for classifiers, which `train` takes by default."""
    from mnv2search.spec.model_spec import Classifier
    from mnv2search.spec.yaml.codec import load_space

    template = load_space(space).template
    if template.head is None or type(template.head) is Classifier:
        return ""
    from mnv2search.tasks.task import task_of  # late: it loads torch

    return task_of(template).name


def _refuse_unknown_names(space: str, device: str, evaluator: str) -> None:
    """Tell a space, a device or an evaluator that is not known, before anything heavy is loaded."""
    from mnv2search import plugins
    from mnv2search.errors import UnknownNameError
    from mnv2search.spec.yaml.codec import load_space

    if space != "-":  # it can be read only once
        load_space(space)
    asked = [("evaluator", evaluator.partition(":")[0])]
    asked += [("device", text.partition("@")[0].partition(":")[0].strip()) for text in device.split(POOL)]
    for kind, name in asked:
        if name not in (known := plugins.names(kind)):
            raise UnknownNameError(kind, name, known)


def _resumed(resume: str, root: Path) -> Path:
    """The folder of the run that `--resume` names, with `--output-dir`."""
    return Path(resume) if Path(resume).parent != Path() else root / resume


def resume_command(folder: Path) -> str:
    """The command line that goes on with the run in a folder."""
    if folder.parent == Path("results"):
        return f"mnv2search run --resume {shlex.quote(folder.name)}"
    if folder.parent == Path():  # a name alone would be looked for in results
        return f"mnv2search run --resume {shlex.quote(folder.name)} --output-dir ."
    return f"mnv2search run --resume {shlex.quote(str(folder))}"


def _learning(space: str) -> str:
    """What learns from data where nothing else is asked for; detectors and segmenters do not share weights."""
    from mnv2search.spec.model_spec import DeepLab, SsdLite
    from mnv2search.spec.yaml.codec import load_space

    head = load_space(space).template.head
    if isinstance(head, SsdLite):
        return "train-dense:task=detection"
    return "train-dense:task=segmentation" if isinstance(head, DeepLab) else "supernet"


def _confirm(outcome: Outcome, *, device: str, quiet: bool) -> None:
    """Compare front and trained networks with the converter's; what does not work is said, and changes nothing."""
    from mnv2search.cli.progress import measuring
    from mnv2search.errors import DeviceError
    from mnv2search.report.rows import counted
    from mnv2search.workflows.search.confirm import CONFIRMATION, confirm_front, confirmation_line, disagreements

    def begin(converter: str) -> None:
        note(
            f"comparing {counted(len(specs), 'network')} with what {converter} makes of them: this takes time "
            "beyond --time, with some converters minutes; --no-confirm skips it",
            quiet=quiet,
        )

    folder, trained = outcome.folder, () if outcome.finetuned is None else outcome.finetuned.networks
    specs = list(dict.fromkeys(evaluation.spec for evaluation in (*outcome.result.front, *trained)))
    try:
        with measuring(len(specs), quiet=quiet, verb="confirming") as advance:
            found = confirm_front(folder, specs, device=device, on_begin=begin, on_progress=advance)
    except DeviceError as error:
        note(f"the front was not compared with the runtime's own converter: {error.message}\nhint: {error.hint}")
    except KeyboardInterrupt:
        note("the front was not compared with the runtime's own converter: interrupted")
        sys.exit(130)
    else:
        if found is not None:
            note(confirmation_line(found), quiet=quiet)
            for line in disagreements(found):
                note(f"  {line}", quiet=quiet)
            note(f"  every figure: {folder / CONFIRMATION}", quiet=quiet)


def _refuse_other_options() -> None:
    context = click.get_current_context()
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        if given and parameter.name not in WITH_RESUME:
            raise click.UsageError(
                f"{parameter.opts[0]} cannot be given with --resume: a run goes on as it began, longer with --time "
                "or --trials"
            )
