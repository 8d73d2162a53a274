"""The test images that a classifier gets most wrong, and the parts of a page on an evaluation."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence, Sized
from pathlib import Path

from PIL import Image

from mnv2search.data.dataset import Dataset, Split
from mnv2search.data.pixels import Pixels
from mnv2search.report.confusion import confusion_png
from mnv2search.report.evaluation import confusion_rows, metrics_rows
from mnv2search.report.html.page import Gallery, Part, Picture, Thumbnail
from mnv2search.results.training import WorstImage
from mnv2search.tasks.metrics import Metrics
from mnv2search.tasks.task import Data

# Number of images with the highest losses, and the side of their thumbnails in px.
MOST_WORST, THUMBNAIL_PX = 12, 144


def worst_images(metrics: Metrics, data: Data, split: Split, unreadable: Sequence[Path]) -> tuple[WorstImage, ...]:
    """The images of a split with the highest losses; empty unless a classifier was evaluated."""
    answers, classes, left_out = metrics.answers, data.classes, set(unreadable)
    if answers is None or not isinstance(data, Dataset):
        return ()
    paths = [example.path for example in data.part(split) if example.path not in left_out]
    return tuple(
        WorstImage(
            index=index,
            image=paths[index],
            true=classes[answers.labels[index]],
            predicted=classes[answers.predicted[index]],
            loss=float(answers.losses[index]),
        )
        for index in answers.worst(MOST_WORST)
    )


def evaluation_parts(
    measured: Mapping[str, Metrics],
    classes: Sequence[str],
    worst: Sequence[WorstImage],
    examples: Sized,
    *,
    note: str = "",
) -> Iterator[Part]:
    """Tables, the confusion matrix and the worst images of the last of some evaluations, for a page.

    `examples` are the images of that evaluation, as prepared for the network.
    """
    metrics = [*measured.values()][-1]
    if metrics.details:
        yield metrics_rows(measured, note=note)
    if (confused := confusion_rows(metrics, classes)) is not None:
        yield confused
    if metrics.answers is not None:
        png = confusion_png(metrics.answers.confusion(len(classes)), classes)
        yield Picture(title="Confusion matrix", png=png, shows="number of images by true and predicted class")
    if worst and isinstance(examples, Pixels):
        yield Gallery(
            title="Images with the highest loss",
            thumbnails=tuple(_thumbnail(one, examples) for one in worst),
            notes=("a wrong label is as likely a reason as a hard image",),
        )


def _thumbnail(worst: WorstImage, pixels: Pixels) -> Thumbnail:
    picture = Image.fromarray(pixels.image(worst.index))
    picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    content = io.BytesIO()
    picture.save(content, format="JPEG", quality=85)
    said = "right" if worst.true == worst.predicted else f"predicted: {worst.predicted}"
    caption = f"true: {worst.true}\n{said}\nloss {worst.loss:.2f}, {worst.image.name}"
    return Thumbnail(jpeg=content.getvalue(), caption=caption)
