"""What a trained network sees in images, drawn into them so that a person can look."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mnv2search.errors import DataError, OptionError
from mnv2search.jobs.train import REPORT
from mnv2search.model.build import MobileNet
from mnv2search.model.dense import enlarged
from mnv2search.model.saved import read_learned, read_network
from mnv2search.model.ssdlite import SsdLiteHead
from mnv2search.spec.model_spec import DeepLab
from mnv2search.spec.size import Size
from mnv2search.training.batches import CROP
from mnv2search.training.scene_batches import normalised

__all__ = ["Found", "Prediction", "predict"]

TOP = 5
# A hundred different colours, the neighbours far apart: steps of the golden angle around the circle.
HUE_STEP = 0.381966
MASK_SHARE = 0.5


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
) -> tuple[Prediction, ...]:
    """Run a network on images and write each with what was found: boxes, a mask, or the five likeliest classes.

    Names of classes and the normalisation of the images are those that the network's file holds, or else those of the
    ``training.json`` beside it.

    Args:
        model: a `.pt` or `.pt2` file of ours.
        images: files.
        folder: for ``NAME-predicted.png``.
        least_score: of boxes that are shown.
        normalization: in place of the training's.
        force: replace files that exist.
        on_predicted: told of each image.

    Raises:
        WeightsError: the network cannot be read.
        DataError: an image cannot be read.
        OptionError: the network is a feature extractor, or a file exists.
    """
    network = read_network(model)
    if network.spec.head is None:
        raise OptionError(f"{network.spec.name} has no head and says nothing", hint="give its spec a head")
    names, used = _training_of(model, network)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(f"{folder} cannot be made: {error.strerror}", hint="choose another folder") from error
    if not os.access(folder, os.W_OK):
        raise OptionError(f"{folder} cannot be written to", hint="choose another folder")
    done = []
    for path in images:
        to = folder / f"{path.stem}-predicted.png"
        if to.exists() and not force:
            raise OptionError(f"{to} exists", hint="choose another folder, or --force")
        picture = _opened(path)
        found, shown = _seen(network, picture, names, normalization or used, least_score)
        shown.save(to)
        done.append(Prediction(image=path, drawn=to, found=found))
        on_predicted(done[-1])
    return tuple(done)


def _training_of(model: Path, network: MobileNet) -> tuple[tuple[str, ...], str]:
    """Names of the classes and the normalisation, of the training that made the network where it is known."""
    head = network.spec.head
    assert head is not None
    names, normalization = tuple(f"class {number}" for number in range(head.classes)), "imagenet"
    learned = read_learned(model)
    if learned is not None and len(learned.classes) == head.classes:
        return learned.classes, learned.normalization
    try:
        told: Any = json.loads((model.parent / REPORT).read_text(encoding="utf-8"))
        if told["name"] == network.spec.name and len(told["classes"]) == head.classes:
            names, normalization = tuple(map(str, told["classes"])), str(told["recipe"]["normalization"])
    except (OSError, ValueError, LookupError, TypeError):
        pass  # a network on its own: its classes have numbers
    return names, normalization


def _opened(path: Path) -> Image.Image:
    try:
        with Image.open(path) as opened:
            return opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        why = "there is no such file" if not path.exists() else f"it is no sound image ({error})"
        raise DataError(f"{path} cannot be read: {why}", hint="give image files") from error


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
        logits = enlarged(answer, (picture.height, picture.width))
        return _mask_shown(picture, logits.argmax(1)[0].numpy(), names)
    return _labels_shown(picture, answer.softmax(1)[0], names)


def _middle(picture: Image.Image, size: Size) -> Image.Image:
    """As much as a classifier is evaluated on."""
    scale = min(picture.width / size.width, picture.height / size.height) * CROP
    width, height = round(size.width * scale), round(size.height * scale)
    left, top = (picture.width - width) // 2, (picture.height - height) // 2
    return picture.crop((left, top, left + width, top + height))


def _boxes_shown(
    picture: Image.Image, rows: torch.Tensor, names: Sequence[str]
) -> tuple[tuple[Found, ...], Image.Image]:
    shown, found = picture.copy(), []
    pen = ImageDraw.Draw(shown)
    scale = torch.tensor([picture.width, picture.height] * 2)
    for row in rows:
        x0, y0, x1, y1 = (row[:4] * scale).tolist()
        number = int(row[5])
        found.append(Found(name=names[number], score=float(row[4]), box=(x0, y0, x1, y1)))
        pen.rectangle((x0, y0, max(x1, x0), max(y1, y0)), outline=_colour(number), width=2)
        _written(pen, (x0, max(0.0, y0 - 12)), f"{names[number]} {float(row[4]):.2f}", _colour(number))
    return tuple(found), shown


def _mask_shown(
    picture: Image.Image, numbers: NDArray[np.int64], names: Sequence[str]
) -> tuple[tuple[Found, ...], Image.Image]:
    palette = np.array([_colour(number) for number in range(len(names))], np.uint8)
    shown = Image.blend(picture, Image.fromarray(palette[numbers]), MASK_SHARE)
    shares = np.bincount(numbers.ravel(), minlength=len(names)) / numbers.size
    order = [int(number) for number in np.argsort(-shares) if shares[number] > 0]
    pen = ImageDraw.Draw(shown)
    for line, number in enumerate(order):
        _written(pen, (2, 2 + 12 * line), f"{names[number]} {100 * shares[number]:.0f} %", _colour(number))
    return tuple(Found(name=names[number], score=float(shares[number])) for number in order), shown


def _labels_shown(
    picture: Image.Image, shares: torch.Tensor, names: Sequence[str]
) -> tuple[tuple[Found, ...], Image.Image]:
    shown = picture.copy()
    pen = ImageDraw.Draw(shown)
    best, at = shares.topk(min(TOP, len(names)))
    found = tuple(
        Found(name=names[number], score=score) for score, number in zip(best.tolist(), at.tolist(), strict=True)
    )
    for line, one in enumerate(found):
        _written(pen, (2, 2 + 12 * line), f"{one.name} {one.score:.2f}", (255, 255, 255))
    return found, shown


def _written(pen: ImageDraw.ImageDraw, at: tuple[float, float], text: str, colour: tuple[int, int, int]) -> None:
    pen.rectangle(pen.textbbox(at, text), fill=(0, 0, 0))
    pen.text(at, text, fill=colour)


def _colour(number: int) -> tuple[int, int, int]:
    import colorsys

    red, green, blue = colorsys.hsv_to_rgb(number * HUE_STEP % 1.0, 0.75, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)
