"""Predictions of a trained network, drawn into the images."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mnv2search.atomic import replacing
from mnv2search.data.dataset import class_name
from mnv2search.data.image_files import SUFFIXES, opened_image
from mnv2search.data.readers.folders import check_source, files_below
from mnv2search.data.readers.masks import numbered
from mnv2search.data.transforms import CROP, normalised
from mnv2search.errors import DataError, OptionError, WriteError
from mnv2search.model.build import MobileNet
from mnv2search.model.dense import classes_at
from mnv2search.model.normalization import NORMALIZATIONS
from mnv2search.model.ssdlite import SsdLiteHead
from mnv2search.model.weights.saved import Learned, read_learned, read_network
from mnv2search.results.prediction import Found, Prediction
from mnv2search.spec.model_spec import DeepLab
from mnv2search.spec.size import Size
from mnv2search.untrusted import MAX_NAME_BYTES, UnsafeFileError, file_name, read_json
from mnv2search.workflows.training.drawing import Label, draw_prediction
from mnv2search.workflows.training.train import REPORT

__all__ = ["predict"]

TOP = 5
MAX_REPORT_BYTES = 2**26


class _Output(NamedTuple):
    """The decoded output of a network for one image, the best first; boxes in px, the mask (H, W)."""

    numbers: Sequence[int]
    scores: Sequence[float]
    boxes: Sequence[Sequence[float]] | None = None
    mask: NDArray[np.int64] | None = None


def predict(
    model: Path,
    images: Sequence[Path],
    *,
    folder: Path,
    least_score: float = 0.3,
    normalization: str | None = None,
    force: bool = False,
    on_predicted: Callable[[Prediction], None] = lambda _: None,
    on_unreadable: Callable[[DataError], None] | None = None,
) -> tuple[Prediction, ...]:
    """Run a network on images and draw its predictions: boxes, a mask, or the five likeliest classes.

    Class names and normalisation are those of the network's file, or else of the ``training.json`` beside it. Images
    of folders and subfolders are taken; ``NAME-predicted.png`` in `folder` begins with the name of the subfolder and,
    of several folders, with that of the folder. `on_unreadable` is called with the error of each image that cannot be
    read; None stops at the first.

    Raises:
        WeightsError: the network cannot be read.
        DataError: an image cannot be read or, with `on_unreadable`, none can.
        OptionError: the network has no head, a file exists, or two images have the same output file.
        WriteError: an image cannot be written.
    """
    targets = _targets(images, folder, force=force)
    network = read_network(model)
    if network.spec.head is None:
        raise OptionError(f"{network.spec.name} has no head and says nothing", hint="give its spec a head")
    learned = _learned(model, network)
    if normalization is not None:
        learned = replace(learned, normalization=normalization)
    done: list[Prediction] = []
    unreadable: list[DataError] = []
    for to, path in targets.items():
        try:
            found, shown = _predicted(network, path, learned, least_score)
        except DataError as error:
            if on_unreadable is None:
                raise
            unreadable.append(error)
            continue
        if not done:
            _make(folder)
        _write(shown, to)
        done.append(Prediction(image=path, drawn=to, found=found))
        on_predicted(done[-1])
    if unreadable and not done:
        raise unreadable[0]
    if on_unreadable is not None:
        for problem in unreadable:
            on_unreadable(problem)
    return tuple(done)


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
    """The output file of each image, and the image."""
    targets: dict[Path, Path] = {}
    several = sum(given.is_dir() for given in images) > 1
    for given in images:
        check_source(given)
        prefix = f"{given.resolve().name}-" if several else ""
        for path, name in _images_of(given, folder, prefix) if given.is_dir() else [(given, given.stem)]:
            if not path.exists():
                raise DataError(f"{path} cannot be read: there is no such file", hint="give image files or folders")
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


def _images_of(given: Path, folder: Path, prefix: str) -> list[tuple[Path, str]]:
    """The images of a folder except earlier output, each with a name that tells its subfolder."""
    drawn = folder.resolve()
    files = [f for f in files_below(given) if f.suffix.lower() in SUFFIXES and drawn not in f.resolve().parents]
    if not files:
        raise DataError(f"{given} holds no images", hint=f"images end in {', '.join(sorted(SUFFIXES))}")
    return [(file, prefix + "-".join(file.relative_to(given).with_suffix("").parts)) for file in files]


def _learned(model: Path, network: MobileNet) -> Learned:
    """Class names and normalisation of the training; numbers and ``imagenet`` if they are unknown."""
    head = network.spec.head
    assert head is not None
    learned = read_learned(model)
    if learned is not None and len(learned.classes) == head.classes:
        return learned
    try:
        report = read_json(model.parent / REPORT, max_bytes=MAX_REPORT_BYTES)
        is_its_own = report["name"] == network.spec.name and len(report["classes"]) == head.classes
        if is_its_own and report["recipe"]["normalization"] in NORMALIZATIONS:
            names = tuple(map(class_name, report["classes"]))
            return Learned(classes=names, normalization=report["recipe"]["normalization"])
    except (OSError, ValueError, LookupError, TypeError):
        pass  # there is no report, or it is of no use
    return Learned(classes=numbered(head.classes), normalization="imagenet")


def _predicted(
    network: MobileNet, path: Path, learned: Learned, least_score: float
) -> tuple[tuple[Found, ...], Image.Image]:
    names = learned.classes
    try:
        with opened_image(path) as picture:
            output = _output(network, picture, learned.normalization, least_score)
            boxes = [None] * len(output.numbers) if output.boxes is None else output.boxes
            found = tuple(
                Found(name=names[number], score=score, box=None if box is None else (box[0], box[1], box[2], box[3]))
                for number, score, box in zip(output.numbers, output.scores, boxes, strict=True)
            )
            labels = [Label(n, str(one), one.box) for n, one in zip(output.numbers, found, strict=True)]
            return found, draw_prediction(picture, labels, output.mask)
    except UnsafeFileError as error:
        why = f"it is not a readable image ({error})"
        raise DataError(f"{path} cannot be read: {why}", hint="give image files or folders") from error


@torch.no_grad()
def _output(network: MobileNet, picture: Image.Image, normalization: str, least_score: float) -> _Output:
    size, head = network.spec.size, network.head
    seen = picture if head is not None else _center(picture, size)
    pixels = np.asarray(seen.resize((size.width, size.height), Image.Resampling.BILINEAR)).copy()
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    output = network.predictions(normalised(tensor, normalization))
    if isinstance(head, SsdLiteHead):
        rows = head.detections(head.boxes_of(output))[0]
        rows = rows[rows[:, 4] >= max(least_score, 1e-9)]
        boxes = rows[:, :4] * torch.tensor([picture.width, picture.height] * 2)
        return _Output(rows[:, 5].int().tolist(), rows[:, 4].tolist(), boxes.tolist())
    if isinstance(network.spec.head, DeepLab):
        mask = classes_at(output[0], (picture.height, picture.width)).numpy()
        shares = np.bincount(mask.ravel()) / mask.size
        order = [int(number) for number in np.argsort(-shares) if shares[number] > 0]
        return _Output(order, [float(shares[number]) for number in order], mask=mask)
    scores, numbers = output.softmax(1)[0].topk(min(TOP, output.shape[1]))
    return _Output(numbers.tolist(), scores.tolist())


def _center(picture: Image.Image, size: Size) -> Image.Image:
    """The central crop that classifiers are evaluated on."""
    scale = min(picture.width / size.width, picture.height / size.height) * CROP
    width, height = max(1, round(size.width * scale)), max(1, round(size.height * scale))
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))
