"""Train a network from Python, with the options of `mnv2search train`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack, cast

from mnv2search.errors import OptionError, UnknownNameError
from mnv2search.model.weights.places import OURS
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.size import Resolution
from mnv2search.spec.space import SearchSpace
from mnv2search.spec.yaml.codec import load_spec
from mnv2search.study.deadline import seconds_of
from mnv2search.untrusted import file_name
from mnv2search.workflows.options import chosen_spec, path_of, takes
from mnv2search.workflows.weights import initial_weights

if TYPE_CHECKING:
    from mnv2search.results.training import TrainingReport
    from mnv2search.training.distributed import Team
    from mnv2search.training.precision import Precision
    from mnv2search.workflows.training.request import TrainingRequest


class TrainOptions(TypedDict, total=False):
    """Options of `mnv2search train`, with the same names; `DEFAULTS` has the default values other than None.

    Attributes:
        recipe: name or file of the recipe; by default that of the task.
        lr: learning rate (overrides the recipe).
        epochs: number of epochs (overrides the recipe).
        time: duration of the training in seconds, or text such as ``30m`` (overrides the epochs of the recipe).
        from_: initial weights: a file, a name of `mnv2search weights list`, or ``imagenet`` for the published weights
            that fit the network best.
        from_spec: network to which the published weights of `from_` belong.
        distill: teacher checkpoint for distillation.
        void: mask value to ignore.
        precision: ``auto``, ``float32``, ``bfloat16`` or ``float16``; auto takes float32 on a CPU and, on a GPU, half
            precision if it is clearly faster.
        output: folder of the training; ``results/NAME-trained`` by default.
        seed: random seed of the training.
        accelerator: ``auto``, ``cpu`` or ``cuda``.
        width: width multiplier (overrides the file).
        resolution: side, or height and width (overrides the file).
        pick: choices of a search space, each as ``AT=VALUE``.
        first: take the first option of every choice that is not picked.
    """

    recipe: str | None
    lr: float | None
    epochs: int | None
    time: float | str | None
    from_: str | Path | None
    from_spec: str | None
    distill: str | Path | None
    void: int
    precision: str
    output: str | Path | None
    seed: int
    accelerator: str
    width: float | None
    resolution: Resolution | None
    pick: Sequence[str] | str
    first: bool


DEFAULTS: TrainOptions = {
    "void": 255,
    "precision": "auto",
    "seed": 0,
    "accelerator": "auto",
    "pick": (),
    "first": False,
}
PRECISIONS = ("auto", "float32", "bfloat16", "float16")


@takes(TrainOptions, DEFAULTS)
def train(
    spec: ModelSpec | SearchSpace | str | Path | None = None,
    *,
    data: str | Path | None = None,
    resume: str | Path | None = None,
    on_note: Callable[[str], None] = lambda _: None,
    **options: Unpack[TrainOptions],
) -> TrainingReport:
    """Train a network, or resume its training in the folder `output`, as `mnv2search train` does.

    Args:
        spec: a network or a search space, its file or its published name.
        data: images; see `mnv2search data --help`.
        resume: folder or name of a training to resume with its own settings, instead of `spec`, `data` and options;
            of these, only `accelerator` may be given.
        options: see `TrainOptions`.
        on_note: called with messages about problems in the data and about the folder.

    Raises:
        Mnv2SearchError: an option, the data or the weights do not suit the network, or the training fails.
    """
    from mnv2search.training.distributed import joined  # late: they load torch
    from mnv2search.workflows.training.train import train_spec

    with joined(options.get("accelerator", DEFAULTS["accelerator"])) as team:
        return train_spec(replace(training_request(spec, data, options, team, resume=resume), on_note=on_note))


def training_request(
    spec: ModelSpec | SearchSpace | str | Path | None,
    data: str | Path | None,
    given: TrainOptions,
    team: Team,
    *,
    resume: str | Path | None = None,
) -> TrainingRequest:
    """Convert options to a request, for one process of a team.

    Raises:
        OptionError: options are missing, or contradict each other.
        RecordError: the training to resume has no settings.
    """
    if resume is not None:
        return _resumed(resume, team, {"spec": spec, "data": data, **given})
    if spec is None or data is None:
        raise OptionError("a network and its data are missing", hint="give both, or a training to resume")
    from mnv2search.workflows.training.request import TrainingRequest  # late: it loads torch

    options: TrainOptions = {**DEFAULTS, **given}
    if options.get("epochs") is not None and options.get("time") is not None:
        raise OptionError("epochs and time are both given", hint="give one of them")
    width, resolution, from_spec = options.get("width"), options.get("resolution"), options.get("from_spec")
    network = chosen_spec(spec, pick=options["pick"], first=options["first"], width=width, resolution=resolution)
    initial = initial_weights(options.get("from_"), from_spec, network)
    notes = initial.notes
    if initial.path is None and isinstance(spec, str | Path) and str(spec).endswith(OURS):
        notes = (f"only the spec of {spec} is used, with random weights; --from {spec} uses its weights",)
    return TrainingRequest(
        spec=network,
        data=Path(data),
        folder=path_of(options.get("output")) or Path("results") / file_name(f"{network.name}-trained"),
        recipe=options.get("recipe"),
        seed=options["seed"],
        epochs=options.get("epochs"),
        time_s=seconds_of(options.get("time")),
        weights=initial.path,
        weights_spec=load_spec(initial.spec) if initial.spec else None,
        teacher=path_of(options.get("distill")),
        void=options["void"],
        lr=options.get("lr"),
        precision=_precision(options["precision"]),
        team=team,
        notes=notes,
    )


def _resumed(resume: str | Path, team: Team, given: Mapping[str, object]) -> TrainingRequest:
    from mnv2search.workflows.training.settings import resumed_request, training_folder  # late: it loads torch

    defaults: Mapping[str, object] = {**DEFAULTS, "accelerator": given.get("accelerator")}
    others = [name for name, value in given.items() if value is not None and value != defaults.get(name)]
    if others:
        raise OptionError(
            f"{others[0].strip('_')} is given with a training to resume, which has its own settings",
            hint="leave it out, or start another training",
        )
    return resumed_request(training_folder(resume), team)


def _precision(name: str) -> Precision | None:
    if name not in PRECISIONS:
        raise UnknownNameError("precision", name, PRECISIONS)
    return None if name == "auto" else cast("Precision", name)
