"""The baseline of every search: MobileNetV2 over its width x resolution grid."""

from __future__ import annotations

from dataclasses import replace

from mnv2search.spec.heads.ssdlite import MIN_DETECTOR_SIDE
from mnv2search.spec.model_spec import ModelSpec, Stem
from mnv2search.spec.rows import MOBILENET_V2_BLOCKS
from mnv2search.spec.size import Resolution, Size, size_of
from mnv2search.spec.space import SearchSpace

# Source: tensorflow/models, research/slim/nets/mobilenet/README.md, the published checkpoints.
WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
RESOLUTIONS = (96, 128, 160, 192, 224)

# Up to this side the total stride of 32 leaves too small a feature map, so the stem and the second row get stride 1.
SMALL_SIDE_PX = 64


def baseline_grid(space: SearchSpace) -> tuple[ModelSpec, ...]:
    """MobileNetV2 at every width and resolution, with the space's head, padding and activation.

    For images of at most 64 px, the resolutions are those of the space, and the stem and the second row have stride
    1, as usual for such images. For rectangular images, the sizes are that of the space and smaller ones.
    """
    sides = next((axis.options for axis in space.axes if axis.at == "resolution"), (space.template.resolution,))
    own = tuple(side for side in sides if isinstance(side, int)) or (space.template.resolution,)
    small = max(max(size_of(one)) for one in own) <= SMALL_SIDE_PX
    resolutions = own if small else _resolutions(space.template)
    blocks = tuple(
        replace(block, stride=1) if small and row == 1 else block for row, block in enumerate(MOBILENET_V2_BLOCKS)
    )
    template = replace(
        space.template,
        blocks=blocks,
        stem=Stem(stride=1 if small else 2),
        last_channels=1280,
        keep_stem=False,
        keep_last="auto",
        output_stride=None,
    )
    return tuple(
        replace(template, name=f"mobilenet_v2_{width}_{size_of(one).word}", width=width, resolution=one)
        for width in WIDTHS
        for one in resolutions
    )


def _resolutions(template: ModelSpec) -> tuple[Resolution, ...]:
    """Square resolutions, or scaled rectangles. Source of the rounding: tensorflow/models, deeplab/model.py."""
    if isinstance(template.resolution, int):
        return RESOLUTIONS
    shares = [side / max(RESOLUTIONS) for side in RESOLUTIONS]
    return tuple(
        Size(*(max(int((side - 1) * share + 1), min(side, MIN_DETECTOR_SIDE)) for side in template.size)).resolution
        for share in shares
    )
