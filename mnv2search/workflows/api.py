"""Training, compiling and predicting from Python, with the options of the commands of the same names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mnv2search.errors import OptionError
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.size import Resolution
from mnv2search.spec.space import SearchSpace
from mnv2search.spec.yaml.codec import load_spec
from mnv2search.study.deadline import seconds_of
from mnv2search.untrusted import file_name
from mnv2search.workflows.networks import chosen_spec

if TYPE_CHECKING:
    from mnv2search.results.exports import Compiled
    from mnv2search.results.prediction import Prediction
    from mnv2search.results.training import TrainingReport


def train(
    spec: ModelSpec | SearchSpace | str | Path,
    *,
    data: str | Path,
    recipe: str | None = None,
    epochs: int | None = None,
    time: float | str | None = None,
    from_: str | Path | None = None,
    from_spec: str | None = None,
    distill: str | Path | None = None,
    void: int = 255,
    output: str | Path | None = None,
    seed: int = 0,
    accelerator: str = "auto",
    width: float | None = None,
    resolution: Resolution | None = None,
    pick: Sequence[str] | str = (),
    first: bool = False,
    on_note: Callable[[str], None] = lambda _: None,
) -> TrainingReport:
    """Train a network, or resume its training in the folder `output`, as `mnv2search train` does.

    Args:
        spec: a network or a search space, its file or its published name.
        data: images; see `mnv2search data --help`.
        recipe: name or file; that of the network's task by default.
        epochs: number of epochs (overrides the recipe).
        time: of the training, in place of epochs: seconds, or text such as ``30m``.
        from_: first weights.
        from_spec: the network that published weights belong to.
        distill: teacher checkpoint for distillation.
        void: mask value to ignore.
        output: folder of the training; ``results/NAME-trained`` by default.
        seed: of every random choice.
        accelerator: ``auto``, ``cpu`` or ``cuda``.
        width: multiplier (overrides the file's).
        resolution: side, or height and width (overrides the file's).
        pick: options of a search space, each as ``AT=VALUE``.
        first: take the first option of every choice that is not picked.
        on_note: told about faults of the data and what the folder already holds.

    Raises:
        Mnv2SearchError: an option, the data or the weights do not suit the network, or the training fails.
    """
    if epochs is not None and time is not None:
        raise OptionError("epochs and time are both given", hint="give one of them")
    from mnv2search.training.distributed import joined  # late: they load torch
    from mnv2search.workflows.training.train import TrainingRequest, train_spec

    network = chosen_spec(
        spec, picks=[pick] if isinstance(pick, str) else pick, first=first, width=width, resolution=resolution
    )
    with joined(accelerator) as team:
        request = TrainingRequest(
            spec=network,
            data=Path(data),
            folder=Path(output or Path("results") / file_name(f"{network.name}-trained")),
            recipe=recipe,
            seed=seed,
            epochs=epochs,
            time_s=seconds_of(time),
            weights=None if from_ is None else Path(from_),
            weights_spec=None if from_spec is None else load_spec(from_spec),
            teacher=None if distill is None else Path(distill),
            void=void,
            team=team,
        )
        return train_spec(request, on_note=on_note)


def compile(
    spec: ModelSpec | SearchSpace | str | Path,
    *,
    output: Sequence[str | Path] | str | Path = (),
    weights: str | Path | None = None,
    precision: str = "fp32",
    calibration: str | Path | None = None,
    normalization: str = "imagenet",
    data: str | Path | None = None,
    seed: int = 0,
    force: bool = False,
    no_fvcore: bool = False,
    width: float | None = None,
    resolution: Resolution | None = None,
    head_output: str | None = None,
    pick: Sequence[str] | str = (),
    first: bool = False,
    on_note: Callable[[str], None] = lambda _: None,
) -> Compiled:
    """Lay out a network, count it and write it to files, as `mnv2search compile` does.

    Args:
        spec: a network or a search space, its file or its published name, or a `.pt` or `.pt2` file with its weights.
        output: files to write, in the formats of their endings.
        weights: file to load; if left out, those in the file of the spec or beside it, or random weights.
        precision: of the files: ``fp32``, ``fp16`` or ``int8``.
        calibration: folder of images to find the ranges of integers on.
        normalization: of these images.
        data: images to evaluate the network and the files on.
        seed: of random weights.
        force: overwrite existing files.
        no_fvcore: leave out fvcore's count, which has to build the network.
        width: multiplier (overrides the file's).
        resolution: side, or height and width (overrides the file's).
        head_output: output of a detector or segmenter (overrides the file's).
        pick: options of a search space, each as ``AT=VALUE``.
        first: take the first option of every choice that is not picked.
        on_note: told which weights beside the spec are taken, or why they are not.

    Raises:
        Mnv2SearchError: a file cannot be written, or an option does not suit the network.
    """
    from mnv2search.workflows.export.compile import compile_file  # late: it loads torch

    return compile_file(
        spec,
        outputs=_paths(output),
        weights=None if weights is None else Path(weights),
        picks=[pick] if isinstance(pick, str) else pick,
        first=first,
        width=width,
        resolution=resolution,
        head_output=head_output,
        seed=seed,
        force=force,
        with_fvcore=not no_fvcore,
        precision=precision,
        calibration=None if calibration is None else Path(calibration),
        normalization=normalization,
        data=None if data is None else Path(data),
        note=on_note,
    )


def predict(
    model: str | Path,
    images: Sequence[str | Path] | str | Path,
    *,
    output: str | Path = "predicted",
    score: float = 0.3,
    normalization: str | None = None,
    force: bool = False,
) -> tuple[Prediction, ...]:
    """Draw what a network finds into images, as `mnv2search predict` does.

    Args:
        model: a `.pt` or `.pt2` file of ours.
        images: files and folders.
        output: folder of the drawn images.
        score: least score of boxes that are shown, 0 to 1.
        normalization: of the images; that of the training by default.
        force: replace files that exist.

    Raises:
        Mnv2SearchError: the network or an image cannot be read, or a file exists.
    """
    from mnv2search.workflows.training.predict import predict as predict_images  # late: it loads torch

    return predict_images(
        Path(model),
        _paths(images),
        folder=Path(output),
        least_score=score,
        normalization=normalization,
        force=force,
    )


def _paths(given: Sequence[str | Path] | str | Path) -> list[Path]:
    return [Path(one) for one in ([given] if isinstance(given, str | Path) else given)]
