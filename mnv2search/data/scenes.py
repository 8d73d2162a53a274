"""Datasets with boxes or masks under their former names."""

from __future__ import annotations

from typing import Literal, TypeAlias

from mnv2search.data.dataset import Dataset, Example, Fault

__all__ = ["Fault", "Scene", "SceneSet", "Task"]

Task: TypeAlias = Literal["detection", "segmentation"]
Scene = Example
SceneSet = Dataset
