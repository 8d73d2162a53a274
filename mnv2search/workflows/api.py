"""Training, compiling and predicting from Python, with the options of the commands of the same names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mnv2search.errors import OptionError
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.yaml.codec import load_spec
from mnv2search.study.deadline import seconds_of
from mnv2search.untrusted import file_name

if TYPE_CHECKING:
    from mnv2search.results.exports import Compiled
    from mnv2search.results.prediction import Prediction
    from mnv2search.results.training import TrainingReport

__all__ = ["compile", "predict", "train"]


def train(
    spec: ModelSpec | str,
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
) -> TrainingReport:
    """Train a network, or resume its training in the folder `output`, as `mnv2search train` does.

    Args:
        spec: a network, its file or its published name.
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

    Raises:
        Mnv2SearchError: an option, the data or the weights do not suit the network, or the training fails.
    """
    if epochs is not None and time is not None:
        raise OptionError("epochs and time are both given", hint="give one of them")
    from mnv2search.training.distributed import joined  # late: they load torch
    from mnv2search.workflows.training.train import TrainingRequest, train_spec

    network = load_spec(spec) if isinstance(spec, str) else spec
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
        return train_spec(request)


def compile(
    spec: ModelSpec | str,
    *,
    output: Sequence[str | Path] | str | Path = (),
    weights: str | Path | None = None,
    precision: str = "fp32",
    calibration: str | Path | None = None,
    normalization: str = "imagenet",
    data: str | Path | None = None,
    seed: int = 0,
    force: bool = False,
    fvcore: bool = True,
) -> Compiled:
    """Lay out a network, count it and write it to files, as `mnv2search compile` does.

    Args:
        spec: a network, its file or its published name.
        output: files to write, in the formats of their endings.
        weights: file to load; random weights by default.
        precision: of the files: ``fp32``, ``fp16`` or ``int8``.
        calibration: folder of images to find the ranges of integers on.
        normalization: of these images.
        data: images to evaluate the network and the files on.
        seed: of random weights.
        force: overwrite existing files.
        fvcore: count by fvcore too.

    Raises:
        Mnv2SearchError: a file cannot be written, or an option does not suit the network.
    """
    from mnv2search.workflows.export.compile import check_request, compile_spec  # late: it loads torch

    outputs = [Path(one) for one in ([output] if isinstance(output, str | Path) else output)]
    folder = None if calibration is None else Path(calibration)
    check_request(outputs, force=force, precision=precision, calibration=folder)
    return compile_spec(
        load_spec(spec) if isinstance(spec, str) else spec,
        outputs=outputs,
        weights=None if weights is None else Path(weights),
        seed=seed,
        force=force,
        with_fvcore=fvcore,
        precision=precision,
        calibration=folder,
        normalization=normalization,
        data=None if data is None else Path(data),
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

    given = [images] if isinstance(images, str | Path) else images
    return predict_images(
        Path(model),
        [Path(one) for one in given],
        folder=Path(output),
        least_score=score,
        normalization=normalization,
        force=force,
    )
