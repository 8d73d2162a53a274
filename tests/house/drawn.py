"""The pictures of the tests of training, for the examples too."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "training"))

from pictures import draw_pictures

__all__ = ["draw_pictures"]
