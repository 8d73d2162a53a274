"""Scenes as tensors: decoded at the network's size, moved and coloured at random, the same for the same seed."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mnv2search.data.augmentation import Augmentation
from mnv2search.data.image_batches import NORMALIZATIONS
from mnv2search.data.image_files import opened_image
from mnv2search.data.readers.masks import mask_of
from mnv2search.data.scenes import Scene, SceneSet
from mnv2search.errors import DataError, MissingExtraError
from mnv2search.spec.size import Size
from mnv2search.untrusted import UnsafeFileError

__all__ = ["VOID", "LoadedScenes", "SceneBatch", "augmented", "loaded_parts", "normalised", "scene_batches"]

# Value of the pixels of masks that losses and metrics ignore.
VOID = 255
# Decoded images that are kept in memory, at most.
MOST_CACHED_BYTES = 1_500_000_000
# Of an object, what a cut has to leave of it for it to count as there.
LEAST_VISIBLE = 0.3
COLOUR_SHARE = 0.8
# Of a cut's width over its height to those of the image, the least; the most is one over it.
LEAST_RATIO = 0.75


class SceneBatch(NamedTuple):
    """Images with what is to be found in them.

    Attributes:
        images: (N, 3, H, W), 0 to 1 until they are normalised.
        corners: of each image (M, 4) boxes over the image's sides; empty for a segmentation.
        labels: of each image (M,).
        masks: (N, H, W) numbers of classes; None for a detection.
    """

    images: Tensor
    corners: tuple[Tensor, ...]
    labels: tuple[Tensor, ...]
    masks: Tensor | None


class LoadedScenes:
    """The scenes of a part, decoded when first asked for and kept while there is room.

    Args:
        scenes: of the part.
        size: of the network's input; images are stretched to it.
        void: number of the pixels of masks that count for nothing.
    """

    def __init__(self, scenes: Sequence[Scene], *, size: Size, void: int) -> None:
        self.scenes, self.size, self.void = tuple(scenes), size, void
        self._kept: dict[int, tuple[NDArray[np.uint8], NDArray[np.uint8] | None]] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self.scenes)

    def batch(self, indices: Sequence[int]) -> SceneBatch:
        """Some scenes, as they are."""
        pixels, masks = zip(*(self._decoded(int(index)) for index in indices), strict=True)
        images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
        scenes = [self.scenes[int(index)] for index in indices]
        whole = None if scenes[0].mask is None else torch.from_numpy(np.stack(masks)).long()
        return SceneBatch(
            images,
            tuple(_corners(scene) for scene in scenes),
            tuple(torch.tensor(scene.labels, dtype=torch.long) for scene in scenes),
            whole,
        )

    @property
    def corners(self) -> tuple[Tensor, ...]:
        """Of each scene (M, 4) boxes over the image's sides."""
        return tuple(_corners(scene) for scene in self.scenes)

    def truth(self, index: int) -> NDArray[np.uint8]:
        """(H, W) the mask of a scene at its own size, `VOID` where nothing counts."""
        path = self.scenes[index].mask
        found = None if path is None else mask_of(path)
        if found is None:
            raise DataError(
                f"{path} can no longer be read as a mask", hint="do not change the dataset during a training"
            )
        return np.where(found == self.void, VOID, found).astype(np.uint8)

    def _decoded(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
        if index in self._kept:
            return self._kept[index]
        scene, size = self.scenes[index], (self.size.width, self.size.height)
        try:
            with opened_image(scene.image) as picture:
                pixels = np.asarray(picture.resize(size, Image.Resampling.BILINEAR))
        except UnsafeFileError as error:  # it was readable when the dataset was read
            hint = "do not change the dataset during a training"
            raise DataError(f"{scene.image} can no longer be read: {error}", hint=hint) from error
        mask = None
        if scene.mask is not None:
            mask = np.asarray(Image.fromarray(self.truth(index)).resize(size, Image.Resampling.NEAREST))
        if len(self._kept) * self.size.area * 4 < MOST_CACHED_BYTES:
            self._kept[index] = pixels, mask
        return pixels, mask


def scene_batches(
    loaded: LoadedScenes, *, batch: int, seed: int, epoch: int, first: int = 0
) -> Generator[SceneBatch]:
    """One epoch of full batches in random order, from batch number `first` on; the last images may be left out."""
    order = np.random.default_rng([seed, epoch]).permutation(len(loaded))
    for number in range(first, len(loaded) // batch):
        yield loaded.batch(order[number * batch : (number + 1) * batch].tolist())


def normalised(images: Tensor, normalization: str) -> Tensor:
    """Images from 0 to 1 as the network wants them."""
    mean, deviation = (torch.tensor(v, device=images.device).view(1, 3, 1, 1) for v in NORMALIZATIONS[normalization])
    return ((images - mean) / deviation).contiguous(memory_format=torch.channels_last)


def augmented(batch: SceneBatch, recipe: Augmentation) -> SceneBatch:
    """The scenes mirrored, cut and coloured at random, boxes and masks with them; torch's generator draws.

    An object of which a cut leaves little is left out.

    Raises:
        MissingExtraError: kornia is not installed.
    """
    try:
        import kornia.augmentation as aug  # late: it is an extra
    except ImportError as error:
        raise MissingExtraError(feature="augmentation", package="kornia", extra="train") from error
    height, width = batch.images.shape[-2:]
    sides = torch.tensor([width, height] * 2)
    steps = [aug.ColorJiggle(0.25, 0.25, 0.25, 0.03, p=COLOUR_SHARE)]
    if recipe.mirror:
        steps.append(aug.RandomHorizontalFlip(p=0.5))
    if recipe.least_area < 1:
        # width over height in px of the stretched images: as far as it goes from theirs, objects change shape
        ratio = (LEAST_RATIO * width / height, width / height / LEAST_RATIO)
        steps.append(aug.RandomResizedCrop((height, width), scale=(recipe.least_area, 1.0), ratio=ratio))
    if batch.masks is not None:
        moved = aug.AugmentationSequential(*steps, data_keys=["input", "mask"])
        images, masks = moved(batch.images, batch.masks[:, None].float())
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
    kept = areas[0] > LEAST_VISIBLE * areas[1].clamp(min=1e-9)
    return within[kept], labels[kept]


def _corners(scene: Scene) -> Tensor:
    width, height = scene.size
    return torch.tensor(scene.boxes, dtype=torch.float32).reshape(-1, 4) / torch.tensor(
        [width, height, width, height]
    )


def loaded_parts(scenes: SceneSet, *, size: Size) -> tuple[LoadedScenes, LoadedScenes, LoadedScenes]:
    """Train, val and test of a set."""
    train, val, test = (
        LoadedScenes(part, size=size, void=scenes.void) for part in (scenes.train, scenes.val, scenes.test)
    )
    return train, val, test
