"""Draw the predictions of a trained network into images."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from mnv2search.atomic import replacing
from mnv2search.data.image_files import SUFFIXES, opened_image
from mnv2search.data.preprocessing import Preprocessing
from mnv2search.data.readers.folders import check_source, files_below
from mnv2search.errors import DataError, OptionError, WriteError
from mnv2search.model.build import MobileNet
from mnv2search.model.weights.network_file import Learned, read_network
from mnv2search.results.training import Prediction, Predictions
from mnv2search.tasks.prediction import Predicted
from mnv2search.tasks.task import AnyTask, task_of
from mnv2search.untrusted import MAX_NAME_BYTES, UnsafeFileError, file_name
from mnv2search.workflows.options import paths_of
from mnv2search.workflows.training.origin import learned_of

# Minimum score of boxes where the file of a network states none.
DEFAULT_SCORE = 0.3


def predict(
    model: str | Path,
    images: Sequence[str | Path] | str | Path,
    *,
    output: str | Path = "predicted",
    score: float | None = None,
    normalization: str | None = None,
    force: bool = False,
    on_unreadable: Callable[[DataError], None] | None = None,
    on_note: Callable[[str], None] = lambda _: None,
) -> Predictions:
    """Draw the predictions of a network into images, as `mnv2search predict` does.

    Class names and normalization are read from the network's file, or else from the ``training.json`` beside it.
    Folders are searched with their subfolders. Output files are named ``NAME-predicted.png``, prefixed by the name of
    the subfolder and, if there are several folders, by that of the folder.

    Args:
        model: a `.pt` or `.pt2` file of ours.
        images: files and folders.
        output: folder of the drawn images.
        score: minimum score of the boxes to draw, 0 to 1; None takes the threshold with the best F1 on the validation
            images of the training, or 0.3 if the file has none.
        normalization: normalization of the images; by default as in training.
        force: replace files that exist.
        on_unreadable: called with the error of each image that cannot be read; None raises the first error.
        on_note: called with a message if the minimum score is that of the file.

    Raises:
        WeightsError: the network cannot be read.
        DataError: an image cannot be read or, with `on_unreadable`, none can.
        OptionError: no task predicts with the network's head, a file exists, or two images have the same output file.
        WriteError: an image cannot be written.
    """
    model, folder = Path(model), Path(output)
    targets = _targets(paths_of(images), folder, force=force)
    network = read_network(model)
    task, learned = task_of(network.spec), learned_of(model, network)
    learned = replace(learned, normalization=normalization or learned.normalization)
    least = _least_score(score, task, learned, on_note)
    done: list[Prediction] = []
    unreadable: list[DataError] = []
    for to, path in targets.items():
        try:
            found, shown = _predicted(task, network, path, learned, least)
        except DataError as error:
            if on_unreadable is None:
                raise
            unreadable.append(error)
            continue
        if not done:
            _make(folder)
        _write(shown, to)
        done.append(Prediction(image=path, drawn=to, found=found))
    if unreadable and not done:
        raise unreadable[0]
    if on_unreadable is not None:
        for problem in unreadable:
            on_unreadable(problem)
    return Predictions(done)


def _least_score(score: float | None, task: AnyTask, learned: Learned, on_note: Callable[[str], None]) -> float:
    if score is None and task.has_scores and learned.score is not None:
        on_note(
            f"boxes with a score of at least {learned.score:.2g} are shown, the threshold with the best F1 on the "
            "validation images; --score sets another"
        )
    return next(one for one in (score, learned.score, DEFAULT_SCORE) if one is not None)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(f"{folder} cannot be made: {error.strerror}", hint="choose another folder") from error


def _write(shown: Image.Image, to: Path) -> None:
    try:
        with replacing(to) as beside:
            shown.save(beside, format="PNG")
    except OSError as error:
        raise WriteError(f"{to}: cannot be written: {error.strerror or error}", hint="free some space") from error


def _targets(images: Sequence[Path], folder: Path, *, force: bool) -> dict[Path, Path]:
    """Mapping of output files to images."""
    targets: dict[Path, Path] = {}
    several = sum(given.is_dir() for given in images) > 1
    for given in images:
        check_source(given)
        for path, name in _images_of(given, folder, prefix=f"{given.resolve().name}-" if several else ""):
            fits = len(os.fsencode(name)) <= MAX_NAME_BYTES
            to = folder / f"{name if fits else file_name(name)}-predicted.png"
            if (other := targets.get(to, path)) != path:
                raise OptionError(f"{other} and {path} would both be drawn into {to}", hint="give each a folder (-o)")
            if to.exists() and not force:
                raise OptionError(f"{to} exists", hint="choose another folder, or --force")
            targets[to] = path
    if folder.exists() and not os.access(folder, os.W_OK):
        raise OptionError(f"{folder} cannot be written to", hint="choose another folder")
    return targets


def _images_of(given: Path, folder: Path, *, prefix: str) -> list[tuple[Path, str]]:
    """An image, or the images of a folder except earlier output, each with a name that includes its subfolder."""
    if not given.exists():
        raise DataError(f"{given} cannot be read: there is no such file", hint="give image files or folders")
    if not given.is_dir():
        return [(given, given.stem)]
    drawn = folder.resolve()
    files = [f for f in files_below(given) if f.suffix.lower() in SUFFIXES and drawn not in f.resolve().parents]
    if not files:
        raise DataError(f"{given} holds no images", hint=f"images end in {', '.join(sorted(SUFFIXES))}")
    return [(file, prefix + "-".join(file.relative_to(given).with_suffix("").parts)) for file in files]


def _predicted(task: AnyTask, network: MobileNet, path: Path, learned: Learned, least_score: float) -> Predicted:
    is_upright = Preprocessing.of(network.plan, learned).is_upright
    try:
        with opened_image(path, upright=is_upright) as picture:
            return task.predict(network, picture, learned, least_score=least_score)
    except UnsafeFileError as error:
        why = f"it is not a readable image ({error})"
        raise DataError(f"{path} cannot be read: {why}", hint="give image files or folders") from error
