"""The baseline of every search: MobileNetV2 over its width x resolution grid, and the network of given weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mnv2search.errors import SpecError
from mnv2search.spec.heads.ssdlite import MIN_DETECTOR_SIDE
from mnv2search.spec.model_spec import Classifier, ModelSpec, Stem
from mnv2search.spec.rows import MOBILENET_V2_BLOCKS
from mnv2search.spec.size import Resolution, Size, size_of
from mnv2search.spec.space import SearchSpace

# Source: tensorflow/models, research/slim/nets/mobilenet/README.md, the published checkpoints.
WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
RESOLUTIONS = (96, 128, 160, 192, 224)

# Number of smaller resolutions of the network of given weights: multiples of 8 px, from half of the smallest side.
SMALLER = 6

# Up to this side the total stride of 32 leaves too small a feature map, so the stem and the second row get stride 1.
SMALL_SIDE_PX = 64

# Number of obvious networks of the grid, the slowest within the budget.
OBVIOUS = 3
# Number of resolutions of the network of given weights that count as obvious networks.
OBVIOUS_GIVEN = 2


def baseline_grid(space: SearchSpace) -> tuple[ModelSpec, ...]:
    """MobileNetV2 at every width and resolution, with the space's head, padding and activation.

    For images of at most 64 px, the resolutions are those of the space, and the stem and the second row have stride
    1, as usual for such images. For rectangular images, the sizes are that of the space and smaller ones.
    """
    own = _sides(space)
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


def given_shapes(space: SearchSpace, given: ModelSpec) -> tuple[ModelSpec, ...]:
    """The network of given weights at every resolution of a space and at smaller ones, with the head of the space.

    Smaller resolutions let the whole network fit into small budgets; none are added if the smallest of the space is
    64 px or less. Resolutions at which the network cannot have this head are left out.
    """
    template = space.template
    shape = replace(given, head=template.head)
    if not isinstance(template.head, Classifier):
        shape = replace(shape, last_channels=template.last_channels, output_stride=template.output_stride)
    found: list[ModelSpec] = []
    for one in (*_smaller(space), *_sides(space)):
        try:
            found.append(replace(shape, name=f"{given.name}_{size_of(one).word}", resolution=one))
        except SpecError:
            continue
    return tuple(found)


def obvious_of(slowest_first: Sequence[ModelSpec], *, given: Sequence[ModelSpec]) -> tuple[ModelSpec, ...]:
    """The obvious networks among those within the budget, which are sorted slowest first.

    These are the slowest networks of the grid, and the network of given weights at its two largest fitting
    resolutions, since the largest may no longer fit when it is measured again.
    """
    own = [spec for spec in slowest_first if spec in given][:OBVIOUS_GIVEN]
    return (*own, *[spec for spec in slowest_first if spec not in given][:OBVIOUS])


def _smaller(space: SearchSpace) -> tuple[int, ...]:
    sides = [size_of(one) for one in _sides(space)]
    least = min(max(size) for size in sides)
    if least <= SMALL_SIDE_PX or any(size.height != size.width for size in sides):
        return ()
    step = max(1, round(least / 2 / SMALLER / 8)) * 8
    return tuple(range(least - step, least // 2 - 1, -step))[::-1]


def _sides(space: SearchSpace) -> tuple[Resolution, ...]:
    options = next((axis.options for axis in space.axes if axis.at == "resolution"), ())
    return tuple(side for side in options if isinstance(side, int)) or (space.template.resolution,)


def _resolutions(template: ModelSpec) -> tuple[Resolution, ...]:
    """Square resolutions, or scaled rectangles. Source of the rounding: tensorflow/models, deeplab/model.py."""
    if isinstance(template.resolution, int):
        return RESOLUTIONS
    shares = [side / max(RESOLUTIONS) for side in RESOLUTIONS]
    return tuple(
        Size(*(max(int((side - 1) * share + 1), min(side, MIN_DETECTOR_SIDE)) for side in template.size)).resolution
        for share in shares
    )
