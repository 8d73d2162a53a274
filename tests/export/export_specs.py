"""The specs of the tests of networks, for the tests of exports too."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "model"))

from dense_specs import DENSE, detector, segmenter
from model_specs import EXOTIC, images, lively, mobilenet_v2, small_specs

__all__ = ["DENSE", "EXOTIC", "detector", "images", "lively", "mobilenet_v2", "segmenter", "small_specs"]
