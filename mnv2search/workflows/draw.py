"""Draw the block diagram of a network."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Unpack

from mnv2search.atomic import write_bytes
from mnv2search.errors import OptionError
from mnv2search.report.diagram.boxes import Box, boxes_of
from mnv2search.report.diagram.layout import drawing_of
from mnv2search.report.diagram.png import drawing_png
from mnv2search.report.diagram.svg import svg_of
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.plan import Plan, plan
from mnv2search.spec.space import SearchSpace
from mnv2search.workflows.options import SPEC_DEFAULTS, SpecOptions, check_output, chosen_spec, path_of, takes

FORMATS = (".svg", ".png")


@dataclass(frozen=True, slots=True)
class Diagram:
    """The block diagram of a network; a notebook shows it as a picture."""

    plan: Plan = field(repr=False)

    @property
    def boxes(self) -> tuple[Box, ...]:
        """The boxes, in the order of computation."""
        return boxes_of(self.plan)

    @property
    def svg(self) -> str:
        """The text of an SVG file."""
        return svg_of(drawing_of(self.plan))

    @property
    def png(self) -> bytes:
        """The content of a PNG file, in light colours."""
        return drawing_png(drawing_of(self.plan))

    def _repr_svg_(self) -> str:
        return self.svg


@takes(SpecOptions, SPEC_DEFAULTS)
def draw(
    spec: ModelSpec | SearchSpace | str | Path,
    *,
    output: str | Path | None = None,
    force: bool = False,
    **options: Unpack[SpecOptions],
) -> Diagram:
    """The block diagram of a network, as `mnv2search draw` writes it.

    Args:
        spec: a network or a search space, its file or its published name, or a `.pt` or `.pt2` file.
        output: `.svg` or `.png` file to write; None writes nothing.
        force: overwrite an existing file.
        options: see `SpecOptions`.

    Raises:
        Mnv2SearchError: an option does not suit the network, or the file cannot be written.

    >>> [box.title for box in draw("mobilenet_v2_1.0_224").boxes][:3]
    ['conv 3x3', 'bottleneck', 'bottleneck']
    """
    path = path_of(output)
    if path is not None:
        if path.suffix not in FORMATS:
            raise OptionError(f"{path} does not end in .svg or .png", hint="give a .svg or a .png file")
        check_output(path, force=force)
    diagram = Diagram(plan(chosen_spec(spec, **options)))
    if path is not None:
        write_bytes(path, diagram.png if path.suffix == ".png" else diagram.svg.encode())
    return diagram
