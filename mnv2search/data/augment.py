"""RandAugment by kornia, on batches that are normalised already."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor

from mnv2search.data.image_batches import NORMALIZATIONS
from mnv2search.errors import MissingExtraError

__all__ = ["augmented"]


def augmented(images: Tensor, *, operations: int, magnitude: int, normalization: str) -> Tensor:
    """Each image after some operations drawn at random from torch's generator.

    Args:
        images: (N, 3, S, S), normalised.
        operations: for each image.
        magnitude: 0 to 30.
        normalization: of the images.

    Raises:
        MissingExtraError: kornia is not installed.

    Source: Cubuk et al., arXiv 1909.13719.
    """
    mean, deviation = (torch.tensor(v, device=images.device).view(1, 3, 1, 1) for v in NORMALIZATIONS[normalization])
    with torch.no_grad():
        plain = (images * deviation + mean).clamp(0, 1)
        changed = cast(Tensor, _operations(operations, magnitude)(plain))
        return ((changed - mean) / deviation).contiguous(memory_format=torch.channels_last)


@lru_cache(maxsize=4)
def _operations(count: int, magnitude: int) -> Any:
    try:
        from kornia.augmentation.auto import RandAugment
    except ImportError as error:
        raise MissingExtraError(feature="RandAugment", package="kornia", extra="train") from error
    return RandAugment(n=count, m=magnitude)
