"""RandAugment under its former name."""

from __future__ import annotations

from mnv2search.data.augmentation import rand_augment as augmented

__all__ = ["augmented"]
