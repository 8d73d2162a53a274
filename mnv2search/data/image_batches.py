"""Batches of images under their former names."""

from __future__ import annotations

from mnv2search.data.batches import Batch, evaluation_batches, training_batches
from mnv2search.data.transforms import CROP
from mnv2search.data.transforms import Transform as Cutting
from mnv2search.model.normalization import NORMALIZATIONS

__all__ = ["CROP", "NORMALIZATIONS", "Batch", "Cutting", "evaluation_batches", "training_batches"]
