"""The rows of MobileNetV2 itself, for whatever needs the network as a yardstick."""

from __future__ import annotations

from mnv2search.spec.model_spec import BlockSpec

# (t, c, n, s). Source: arXiv 1801.04381, Table 2.
_ROWS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
MOBILENET_V2_BLOCKS = tuple(BlockSpec(expansion=t, channels=c, repeats=n, stride=s) for t, c, n, s in _ROWS)
