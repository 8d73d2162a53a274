"""How images become batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mnv2search.data.batches import Batch, Epoch, training_batches
from mnv2search.data.pixels import Pixels
from mnv2search.data.transforms import Transform
from mnv2search.recipe import NORMALIZATIONS

SIDE, SHIFT_PX = 12, 3


def pixels_of(*shapes: tuple[int, int], seed: int = 0) -> Pixels:
    sizes = np.array([3 * high * wide for high, wide in shapes])
    return Pixels(
        short_px=SIDE,
        labels=np.arange(len(shapes)),
        shapes=np.array(shapes),
        unreadable=(),
        _offsets=np.cumsum(sizes) - sizes,
        _values=np.random.default_rng(seed).integers(1, 256, sizes.sum(), np.uint8),
    )


def batch_of(pixels: Pixels, *, mirror: bool = True) -> Batch:
    transform = Transform(side=SIDE, shift_px=SHIFT_PX, mirror=mirror, normalization="unit")
    return next(training_batches(pixels, transform, Epoch(batch=len(pixels), seed=3, number=1)))


def test_images_of_the_networks_size_are_shifted_as_images_of_any() -> None:
    """One image that has to be scaled makes the whole batch go another way, which must not change the others."""
    own = [(SIDE, SIDE)] * 24
    alike, mixed = batch_of(pixels_of(*own)), batch_of(pixels_of(*own[:-1], (SIDE, SIDE + 2)))
    assert mixed.labels.tolist() == alike.labels.tolist()
    same = alike.labels != 23
    assert torch.equal(mixed.images[same], alike.images[same])
    assert not torch.equal(mixed.images, alike.images)
    assert alike.images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("mirror", [False, True])
def test_shifted_images_are_the_image_beside_nothing(mirror: bool) -> None:
    pixels = pixels_of(*[(SIDE, SIDE)] * 24)
    images, labels = batch_of(pixels, mirror=mirror)
    mean = torch.tensor(NORMALIZATIONS["unit"][0])
    assert mean.eq(0).all()  # so that what is beside the image is 0
    mirrored, shifts = 0, set()
    for image, label in zip(images, labels.tolist(), strict=True):
        wide = 2 * SIDE
        around = torch.zeros(3, wide + SIDE, wide + SIDE)
        around[:, SIDE:wide, SIDE:wide] = torch.from_numpy(pixels.image(label).copy()).permute(2, 0, 1) / 255
        found = [
            (top, left, flip)
            for top in range(-SHIFT_PX, SHIFT_PX + 1)
            for left in range(-SHIFT_PX, SHIFT_PX + 1)
            for flip in (False, True)
            if torch.allclose(
                image.flip(-1) if flip else image,
                around[:, SIDE + top : wide + top, SIDE + left : wide + left],
                atol=1e-6,
            )
        ]
        ((top, left, flip),) = found
        mirrored += flip
        shifts.add((top, left))
    assert len(shifts) > 10
    assert (0 < mirrored < 24) == mirror
