"""Images with boxes or masks, decoded at the network's size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mnv2search.data.dataset import Example
from mnv2search.data.image_files import opened_image
from mnv2search.data.readers.masks import mask_of
from mnv2search.errors import DataError
from mnv2search.spec.size import Size
from mnv2search.untrusted import UnsafeFileError

# Value of the pixels of masks that losses and metrics ignore.
VOID = 255
UNCHANGED = "do not change the dataset during a training"
# Maximum size of the decoded images in memory.
MOST_CACHED_BYTES = 1_500_000_000


class SceneBatch(NamedTuple):
    """Images with boxes or masks.

    Attributes:
        images: (N, 3, H, W), 0 to 1.
        corners: boxes of each image, (M, 4), relative to the image's sides; empty for segmentation.
        labels: class indices of each image, (M,).
        masks: class indices, (N, H, W); None for detection.
    """

    images: Tensor
    corners: tuple[Tensor, ...]
    labels: tuple[Tensor, ...]
    masks: Tensor | None


class LoadedScenes:
    """The examples of a split, resized to the network's size at first use and cached up to a maximum size."""

    def __init__(self, scenes: Sequence[Example], *, size: Size, void: int) -> None:
        self.scenes, self.size, self.void = tuple(scenes), size, void
        self._cache: dict[int, tuple[NDArray[np.uint8], NDArray[np.uint8] | None]] = {}

    def __len__(self) -> int:
        return len(self.scenes)

    def batch(self, indices: Sequence[int]) -> SceneBatch:
        """The examples at `indices`, without augmentation."""
        pixels, masks = zip(*(self._decoded(int(index)) for index in indices), strict=True)
        images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
        scenes = [self.scenes[int(index)] for index in indices]
        return SceneBatch(
            images,
            tuple(corners_of(scene) for scene in scenes),
            tuple(torch.tensor(scene.labels, dtype=torch.long) for scene in scenes),
            None if scenes[0].mask is None else torch.from_numpy(np.stack(masks)).long(),
        )

    @property
    def corners(self) -> tuple[Tensor, ...]:
        """The boxes of each example, (M, 4), relative to the image's sides."""
        return tuple(corners_of(scene) for scene in self.scenes)

    def truth(self, index: int) -> NDArray[np.uint8]:
        """The mask (H, W) of an example at its original size, with `VOID` for ignored pixels."""
        path = self.scenes[index].mask
        found = None if path is None else mask_of(path)
        if found is None:
            raise DataError(f"{path} can no longer be read as a mask", hint=UNCHANGED)
        return np.where(found == self.void, VOID, found).astype(np.uint8)

    def _decoded(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
        if index in self._cache:
            return self._cache[index]
        scene, size = self.scenes[index], (self.size.width, self.size.height)
        try:
            with opened_image(scene.path) as picture:
                pixels = np.asarray(picture.resize(size, Image.Resampling.BILINEAR))
        except UnsafeFileError as error:  # it was readable when the dataset was read
            raise DataError(f"{scene.path} can no longer be read: {error}", hint=UNCHANGED) from error
        mask = None
        if scene.mask is not None:
            mask = np.asarray(Image.fromarray(self.truth(index)).resize(size, Image.Resampling.NEAREST))
        if len(self._cache) * self.size.area * 4 < MOST_CACHED_BYTES:
            self._cache[index] = pixels, mask
        return pixels, mask


def corners_of(scene: Example) -> Tensor:
    """The boxes of an example, (M, 4), relative to the image's sides."""
    return torch.tensor(scene.boxes, dtype=torch.float32).reshape(-1, 4) / torch.tensor([*scene.size, *scene.size])
