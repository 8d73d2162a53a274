"""The prediction of a network for one image, and the image with the prediction drawn into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mnv2search.data.transforms import normalised
from mnv2search.model.build import MobileNet
from mnv2search.tasks.drawing import Label, draw_prediction


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A predicted class.

    Attributes:
        score: 0 to 1; for segmentation, the share of the image.
        box: corners in px of the image; None except for detectors.
    """

    name: str
    score: float
    box: tuple[float, float, float, float] | None = None

    def __str__(self) -> str:
        """The class with its score in percent.

        >>> str(Found(name="t_shirt", score=0.174))
        't_shirt 17 %'
        """
        return f"{self.name} {100 * self.score:.0f} %"


class Predicted(NamedTuple):
    """What is found in an image, in the order of the scores, and a picture that shows it."""

    found: tuple[Found, ...]
    picture: Image.Image


@torch.no_grad()
def outputs_of(model: MobileNet, picture: Image.Image, normalization: str) -> Tensor:
    """The network's predictions, of batch size 1, for an image stretched to its input size."""
    size = model.spec.size
    pixels = np.asarray(picture.resize((size.width, size.height), Image.Resampling.BILINEAR)).copy()
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    return model.predictions(normalised(images, normalization))


def drawn(
    picture: Image.Image,
    found: Sequence[Found],
    numbers: Sequence[int] | None = None,
    mask: NDArray[np.int64] | None = None,
) -> Predicted:
    """The prediction with its labels, boxes and mask (H, W) drawn, in the colours of the classes' numbers."""
    labels = [
        Label(number, str(one), one.box)
        for number, one in zip(range(len(found)) if numbers is None else numbers, found, strict=True)
    ]
    return Predicted(tuple(found), draw_prediction(picture, labels, mask))
