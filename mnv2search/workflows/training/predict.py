"""What a trained network sees in images, drawn into them so that a person can look."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mnv2search.atomic import replacing
from mnv2search.data.image_batches import CROP, NORMALIZATIONS
from mnv2search.data.image_files import SUFFIXES, opened_image
from mnv2search.data.readers.folders import check_source, files_below
from mnv2search.data.scene_batches import normalised
from mnv2search.data.sources import class_name
from mnv2search.errors import DataError, OptionError, WriteError
from mnv2search.model.build import MobileNet
from mnv2search.model.dense import classes_at
from mnv2search.model.ssdlite import SsdLiteHead
from mnv2search.model.weights.saved import read_learned, read_network
from mnv2search.spec.model_spec import DeepLab
from mnv2search.spec.size import Size
from mnv2search.untrusted import MAX_NAME_BYTES, UnsafeFileError, file_name, read_json
from mnv2search.workflows.training.drawing import with_boxes, with_lines, with_mask
from mnv2search.workflows.training.train import REPORT

__all__ = ["Found", "Prediction", "label_of", "predict"]

TOP = 5
MAX_REPORT_BYTES = 2**26


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One thing that was seen.

    Attributes:
        name: of the class.
        score: 0 to 1; of a segmentation, the share of the image.
        box: corners in px of the image; None for other networks than detectors.
    """

    name: str
    score: float
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What was seen in an image.

    Attributes:
        image: file.
        drawn: PNG file that shows it.
        found: in the order of the scores.
    """

    image: Path
    drawn: Path
    found: tuple[Found, ...]


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
    """Run a network on images and write each with what was found: boxes, a mask, or the five likeliest classes.

    Names of classes and the normalisation of the images are those that the network's file holds, or else those of the
    ``training.json`` beside it.

    Args:
        model: a `.pt` or `.pt2` file of ours.
        images: files, and folders whose images are taken, those of folders inside too.
        folder: for ``NAME-predicted.png``; of an image in a folder inside, the name of that folder comes
            before it, and where several folders are given, the name of the folder.
        least_score: of boxes that are shown.
        normalization: in place of the training's.
        force: replace files that exist.
        on_predicted: told of each image.
        on_unreadable: told of each image that cannot be read, and the others go on; None ends at the first.

    Raises:
        WeightsError: the network cannot be read.
        DataError: an image cannot be read, with `on_unreadable` none of them can.
        OptionError: the network is a feature extractor, a file exists, or two images would be drawn into one file.
        WriteError: the disk does not take a picture.
    """
    targets = _targets(images, folder, force=force)
    network = read_network(model)
    if network.spec.head is None:
        raise OptionError(f"{network.spec.name} has no head and says nothing", hint="give its spec a head")
    names, used = _training_of(model, network)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(f"{folder} cannot be made: {error.strerror}", hint="choose another folder") from error
    done, unreadable = [], []
    for to, path in targets.items():
        try:
            found, shown = _looked_at(network, path, names, normalization or used, least_score)
        except DataError as error:
            if on_unreadable is None:
                raise
            unreadable.append(error)
            continue
        _write(shown, to)
        done.append(Prediction(image=path, drawn=to, found=found))
        on_predicted(done[-1])
    if unreadable and not done:
        raise unreadable[0]
    for told in unreadable:
        assert on_unreadable is not None
        on_unreadable(told)
    return tuple(done)


def _write(shown: Image.Image, to: Path) -> None:
    try:
        with replacing(to) as beside:
            shown.save(beside, format="PNG")
    except OSError as error:
        raise WriteError(f"{to}: cannot be written: {error.strerror or error}", hint="free some space") from error


def label_of(found: Found) -> str:
    """A class with its score, in percent.

    >>> label_of(Found(name="t_shirt", score=0.174))
    't_shirt 17 %'
    """
    return f"{found.name} {100 * found.score:.0f} %"


def _targets(images: Sequence[Path], folder: Path, *, force: bool) -> dict[Path, Path]:
    """The file that each image is drawn into, and that image."""
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
    """The images of a folder but for what was drawn, each with a name that says where it lies."""
    drawn = folder.resolve()
    files = [f for f in files_below(given) if f.suffix.lower() in SUFFIXES and drawn not in f.resolve().parents]
    if not files:
        raise DataError(f"{given} holds no images", hint=f"images end in {', '.join(sorted(SUFFIXES))}")
    return [(file, prefix + "-".join(file.relative_to(given).with_suffix("").parts)) for file in files]


def _training_of(model: Path, network: MobileNet) -> tuple[tuple[str, ...], str]:
    """Names of the classes and the normalisation, of the training that made the network where it is known."""
    head = network.spec.head
    assert head is not None
    names, normalization = tuple(f"class {number}" for number in range(head.classes)), "imagenet"
    learned = read_learned(model)
    if learned is not None and len(learned.classes) == head.classes:
        return learned.classes, learned.normalization
    try:
        told = read_json(model.parent / REPORT, max_bytes=MAX_REPORT_BYTES)
        is_its_own = told["name"] == network.spec.name and len(told["classes"]) == head.classes
        if is_its_own and told["recipe"]["normalization"] in NORMALIZATIONS:
            names, normalization = tuple(map(class_name, told["classes"])), told["recipe"]["normalization"]
    except (OSError, ValueError, LookupError, TypeError):
        pass  # a network on its own: its classes have numbers
    return names, normalization


def _looked_at(
    network: MobileNet, path: Path, names: Sequence[str], normalization: str, least_score: float
) -> tuple[tuple[Found, ...], Image.Image]:
    try:
        with opened_image(path) as picture:
            return _seen(network, picture, names, normalization, least_score)
    except UnsafeFileError as error:
        why = f"it is not a readable image ({error})"
        raise DataError(f"{path} cannot be read: {why}", hint="give image files or folders") from error


@torch.no_grad()
def _seen(
    network: MobileNet, picture: Image.Image, names: Sequence[str], normalization: str, least_score: float
) -> tuple[tuple[Found, ...], Image.Image]:
    size, head = network.spec.size, network.head
    looked_at = picture if head is not None else _middle(picture, size)
    pixels = np.asarray(looked_at.resize((size.width, size.height), Image.Resampling.BILINEAR)).copy()
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    answer = network.predictions(normalised(tensor, normalization))
    if isinstance(head, SsdLiteHead):
        rows = head.detections(head.boxes_of(answer))[0]
        return _boxes_shown(picture, rows[rows[:, 4] >= max(least_score, 1e-9)], names)
    if isinstance(network.spec.head, DeepLab):
        return _mask_shown(picture, classes_at(answer[0], (picture.height, picture.width)).numpy(), names)
    return _labels_shown(picture, answer.softmax(1)[0], names)


def _middle(picture: Image.Image, size: Size) -> Image.Image:
    """As much as a classifier is evaluated on."""
    scale = min(picture.width / size.width, picture.height / size.height) * CROP
    width, height = max(1, round(size.width * scale)), max(1, round(size.height * scale))
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))


def _boxes_shown(
    picture: Image.Image, rows: torch.Tensor, names: Sequence[str]
) -> tuple[tuple[Found, ...], Image.Image]:
    scale = torch.tensor([picture.width, picture.height] * 2)
    found, labelled = [], []
    for row in rows:
        x0, y0, x1, y1 = (row[:4] * scale).tolist()
        number, score = int(row[5]), float(row[4])
        found.append(Found(name=names[number], score=score, box=(x0, y0, x1, y1)))
        labelled.append(((x0, y0, x1, y1), number, label_of(found[-1])))
    return tuple(found), with_boxes(picture, labelled)


def _mask_shown(
    picture: Image.Image, numbers: NDArray[np.int64], names: Sequence[str]
) -> tuple[tuple[Found, ...], Image.Image]:
    shares = np.bincount(numbers.ravel(), minlength=len(names)) / numbers.size
    order = [int(number) for number in np.argsort(-shares) if shares[number] > 0]
    found = tuple(Found(name=names[number], score=float(shares[number])) for number in order)
    lines = [(number, label_of(one)) for number, one in zip(order, found, strict=True)]
    return found, with_mask(picture, numbers, classes=len(names), lines=lines)


def _labels_shown(
    picture: Image.Image, shares: torch.Tensor, names: Sequence[str]
) -> tuple[tuple[Found, ...], Image.Image]:
    best, at = shares.topk(min(TOP, len(names)))
    found = tuple(
        Found(name=names[number], score=score) for score, number in zip(best.tolist(), at.tolist(), strict=True)
    )
    return found, with_lines(picture, [label_of(one) for one in found])
