"""A block diagram as a PNG file, by matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnv2search.report.diagram.layout import Drawing, Path, Rectangle, Shape
from mnv2search.report.diagram.svg import BOLD, FILLS, LINES, SIZES, head_of
from mnv2search.report.plot import png_of
from mnv2search.untrusted import escaped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PX_PER_INCH, POINTS_PER_INCH, DPI = 100, 72, 200


def drawing_png(drawing: Drawing) -> bytes:
    """The content of a PNG file, at two px per px of the drawing, in the light colours."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # late: it is slow to import
    from matplotlib.figure import Figure

    figure = Figure(figsize=(drawing.width / PX_PER_INCH, drawing.height / PX_PER_INCH), dpi=DPI)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, drawing.width), ylim=(drawing.height, 0))
    axes.axis("off")
    for shape in drawing.shapes:
        _draw(axes, shape)
    return png_of(figure)


def _draw(axes: Axes, shape: Shape) -> None:
    from matplotlib.patches import Polygon
    from matplotlib.patches import Rectangle as Patch

    if isinstance(shape, Rectangle):
        axes.add_patch(Patch((shape.x, shape.y), shape.width, shape.height, color=FILLS[shape.fill][0], linewidth=0))
    elif isinstance(shape, Path):
        xs, ys = zip(*shape.points, strict=True)
        axes.plot(xs, ys, color=LINES[0], linewidth=0.75, linestyle="--" if shape.is_dashed else "-", zorder=1)
        if shape.has_arrow:
            axes.add_patch(Polygon(head_of(shape), color=LINES[0], linewidth=0))
    else:
        axes.text(
            shape.x,
            shape.y,
            escaped(shape.text).replace("$", r"\$"),
            color=FILLS[shape.role][0],
            fontsize=SIZES[shape.role] * POINTS_PER_INCH / PX_PER_INCH,
            fontweight="bold" if shape.role in BOLD else "normal",
            horizontalalignment={"start": "left", "middle": "center", "end": "right"}[shape.anchor],
            verticalalignment="baseline",
        )
