"""Augmentation by kornia: RandAugment for classification; flips, crops and colours for boxes and masks."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from mnv2search.data.loaded_scenes import VOID, SceneBatch
from mnv2search.data.transforms import normalised
from mnv2search.errors import extra_module
from mnv2search.recipe import NORMALIZATIONS, Recipe

# Minimum share of an object that remains after a crop; other objects are dropped.
LEAST_VISIBLE = 0.3
COLOUR_SHARE = 0.8
# Share of the images that are shrunk, and minimum share of a mosaic that a crop keeps: objects have half to all of
# their size.
ZOOMED_SHARE, LEAST_MOSAIC_AREA = 0.5, 0.25
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
    """A batch with random mosaics, zooms, colours, flips and crops (by torch's generator) of images, boxes and masks.

    Raises:
        MissingExtraError: kornia is not installed.
    """
    aug = extra_module("kornia.augmentation", feature="augmentation", package="kornia", extra="train")
    is_mosaic = recipe.mosaic > 0 and float(torch.rand(())) < recipe.mosaic
    least_area = min(recipe.least_area, LEAST_MOSAIC_AREA) if is_mosaic else recipe.least_area
    height, width = batch.images.shape[-2:]
    if is_mosaic:
        batch = mosaic(batch)
    elif recipe.zoom_out > 1:
        batch = zoom_out(batch, recipe.zoom_out)
    sides = torch.tensor([*batch.images.shape[:1:-1]] * 2)
    steps = [aug.ColorJiggle(0.25, 0.25, 0.25, 0.03, p=COLOUR_SHARE)]
    if recipe.mirror:
        steps.append(aug.RandomHorizontalFlip(p=0.5))
    if least_area < 1:
        # width over height in px of the resized images: any other aspect changes the shape of objects
        ratio = (LEAST_RATIO * width / height, width / height / LEAST_RATIO)
        steps.append(aug.RandomResizedCrop((height, width), scale=(least_area, 1.0), ratio=ratio))
    if batch.masks is not None:
        augment = aug.AugmentationSequential(*steps, data_keys=["input", "mask"])
        images, masks = augment(batch.images, batch.masks[:, None].float())
        return batch._replace(images=images, masks=masks[:, 0].round().long())
    most = max(1, *(len(corners) for corners in batch.corners))
    padded = torch.zeros(len(batch.corners), most, 4)
    for number, corners in enumerate(batch.corners):
        padded[number, : len(corners)] = corners * sides
    images, boxes = aug.AugmentationSequential(*steps, data_keys=["input", "bbox_xyxy"])(batch.images, padded)
    sides = torch.tensor([*images.shape[:1:-1]] * 2)
    found = [_visible(boxes[number, : len(labels)] / sides, labels) for number, labels in enumerate(batch.labels)]
    return batch._replace(images=images, corners=tuple(c for c, _ in found), labels=tuple(n for _, n in found))


def zoom_out(batch: SceneBatch, most: float) -> SceneBatch:
    """Half of the images shrunk by a random factor of up to `most`, at a random place on their mean colour.

    Boxes follow, and masks are `VOID` around the image.

    Source: Liu et al., arXiv 1512.02325, section 3.6 ("zoom out" operation).
    """
    count = len(batch.images)
    factors = torch.where(torch.rand(count) < ZOOMED_SHARE, 1 + (most - 1) * torch.rand(count), 1.0)
    shifts = (2 * torch.rand(count, 2) - 1) * (factors - 1)[:, None]
    moves = torch.cat([torch.diag_embed(factors[:, None].expand(count, 2)), shifts[:, :, None]], dim=2)
    grid = functional.affine_grid(moves, list(batch.images.shape), align_corners=False)

    def placed(maps: Tensor, around: Tensor | float, mode: str) -> Tensor:
        return functional.grid_sample(maps - around, grid, mode=mode, align_corners=False) + around

    corners = tuple(
        ((2 * boxes - 1 - shift.repeat(2)) / factor + 1) / 2
        for boxes, shift, factor in zip(batch.corners, shifts, factors, strict=True)
    )
    masks = None if batch.masks is None else placed(batch.masks[:, None].float(), float(VOID), "nearest")
    return batch._replace(
        images=placed(batch.images, batch.images.mean((2, 3), keepdim=True), "bilinear"),
        corners=corners,
        masks=None if masks is None else masks[:, 0].round().long(),
    )


def mosaic(batch: SceneBatch) -> SceneBatch:
    """Mosaics of twice the height and width, each of an image and the next three of the batch.

    Source: Bochkovskiy et al., arXiv 2004.10934, section 3.4.
    """
    count = len(batch.images)
    places = [(place % 2 / 2, place // 2 / 2) for place in range(4)]
    corners = [
        torch.cat(
            [batch.corners[(number + i) % count] / 2 + torch.tensor(place * 2) for i, place in enumerate(places)]
        )
        for number in range(count)
    ]
    labels = [torch.cat([batch.labels[(number + i) % count] for i in range(4)]) for number in range(count)]
    return SceneBatch(
        _tiled(batch.images), tuple(corners), tuple(labels), None if batch.masks is None else _tiled(batch.masks)
    )


def _tiled(maps: Tensor) -> Tensor:
    """Maps (N, ..., H, W), each tiled with the next three: (N, ..., 2 * H, 2 * W)."""
    first, second, third, fourth = (maps.roll(-number, 0) for number in range(4))
    return torch.cat([torch.cat([first, second], dim=-1), torch.cat([third, fourth], dim=-1)], dim=-2)


def _visible(corners: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    within = corners.clamp(0.0, 1.0)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1) for boxes in (within, corners)]
    visible = areas[0] > LEAST_VISIBLE * areas[1].clamp(min=1e-9)
    return within[visible], labels[visible]


@lru_cache(maxsize=4)
def _rand_augment(count: int, magnitude: int) -> nn.Module:
    kornia = extra_module("kornia.augmentation.auto", feature="RandAugment", package="kornia", extra="train")
    augment: nn.Module = kornia.RandAugment(n=count, m=magnitude)
    return augment
