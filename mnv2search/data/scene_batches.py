"""Batches of scenes under their former names."""

from __future__ import annotations

from mnv2search.data.augmentation import augment_scenes as augmented
from mnv2search.data.batches import scene_batches
from mnv2search.data.loaded_scenes import VOID, LoadedScenes, SceneBatch, loaded_parts
from mnv2search.data.transforms import normalised

__all__ = ["VOID", "LoadedScenes", "SceneBatch", "augmented", "loaded_parts", "normalised", "scene_batches"]
