"""Augmentation by kornia: RandAugment for classification; flips, crops and colours for boxes and masks."""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType

import torch
from torch import Tensor, nn

from mnv2search.data.loaded_scenes import SceneBatch
from mnv2search.data.transforms import normalised
from mnv2search.errors import MissingExtraError
from mnv2search.recipe import NORMALIZATIONS, Recipe

# Minimum share of an object that remains after a crop; other objects are dropped.
LEAST_VISIBLE = 0.3
COLOUR_SHARE = 0.8
# Minimum ratio of a crop's aspect to that of the image; the maximum is its inverse.
LEAST_RATIO = 0.75


def rand_augment(images: Tensor, *, operations: int, magnitude: int, normalization: str) -> Tensor:
    """Normalised images (N, 3, S, S) after random operations (by torch's generator) of magnitude 0 to 30.

    Raises:
        MissingExtraError: kornia is not installed.

    Source: Cubuk et al., arXiv 1909.13719.
    """
    mean, deviation = (torch.tensor(v, device=images.device).view(1, 3, 1, 1) for v in NORMALIZATIONS[normalization])
    with torch.no_grad():
        plain = (images * deviation + mean).clamp(0, 1)
        return normalised(_rand_augment(operations, magnitude)(plain), normalization)


def augment_scenes(batch: SceneBatch, recipe: Recipe) -> SceneBatch:
    """A batch with random colours, flips and crops (by torch's generator), applied to images, boxes and masks.

    Raises:
        MissingExtraError: kornia is not installed.
    """
    aug = _kornia("augmentation")
    height, width = batch.images.shape[-2:]
    sides = torch.tensor([width, height] * 2)
    steps = [aug.ColorJiggle(0.25, 0.25, 0.25, 0.03, p=COLOUR_SHARE)]
    if recipe.mirror:
        steps.append(aug.RandomHorizontalFlip(p=0.5))
    if recipe.least_area < 1:
        # width over height in px of the resized images: any other aspect changes the shape of objects
        ratio = (LEAST_RATIO * width / height, width / height / LEAST_RATIO)
        steps.append(aug.RandomResizedCrop((height, width), scale=(recipe.least_area, 1.0), ratio=ratio))
    if batch.masks is not None:
        augment = aug.AugmentationSequential(*steps, data_keys=["input", "mask"])
        images, masks = augment(batch.images, batch.masks[:, None].float())
        return batch._replace(images=images, masks=masks[:, 0].round().long())
    most = max(1, *(len(corners) for corners in batch.corners))
    padded = torch.zeros(len(batch.corners), most, 4)
    for number, corners in enumerate(batch.corners):
        padded[number, : len(corners)] = corners * sides
    images, boxes = aug.AugmentationSequential(*steps, data_keys=["input", "bbox_xyxy"])(batch.images, padded)
    found = [_visible(boxes[number, : len(labels)] / sides, labels) for number, labels in enumerate(batch.labels)]
    return batch._replace(images=images, corners=tuple(c for c, _ in found), labels=tuple(n for _, n in found))


def _visible(corners: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    within = corners.clamp(0.0, 1.0)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1) for boxes in (within, corners)]
    visible = areas[0] > LEAST_VISIBLE * areas[1].clamp(min=1e-9)
    return within[visible], labels[visible]


@lru_cache(maxsize=4)
def _rand_augment(count: int, magnitude: int) -> nn.Module:
    augment: nn.Module = _kornia("RandAugment").auto.RandAugment(n=count, m=magnitude)
    return augment


def _kornia(feature: str) -> ModuleType:
    try:
        import kornia.augmentation.auto  # late: it is an extra
    except ImportError as error:
        raise MissingExtraError(feature=feature, package="kornia", extra="train") from error
    return kornia.augmentation
