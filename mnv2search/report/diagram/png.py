"""A block diagram as a PNG file, by matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnv2search.report.diagram.layout import Drawing, Path, Rectangle, Text
from mnv2search.report.diagram.svg import BOLD, FILLS, HALF, LENGTH, LINES, SIZES
from mnv2search.report.plot import png_of
from mnv2search.untrusted import escaped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PX_PER_INCH, POINTS_PER_INCH, DPI = 100, 72, 200
LINE_POINTS = 0.75


def drawing_png(drawing: Drawing) -> bytes:
    """The content of a PNG file, at two px per px of the drawing, in the light colours."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # late: it is slow to import
    from matplotlib.figure import Figure

    figure = Figure(figsize=(drawing.width / PX_PER_INCH, drawing.height / PX_PER_INCH), dpi=DPI)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, drawing.width), ylim=(drawing.height, 0))
    axes.axis("off")
    for path in drawing.paths:
        _draw_path(axes, path)
    for group in drawing.boxes:
        for shape in group.shapes:
            _draw(axes, shape._replace(x=group.x + shape.x, y=group.y + shape.y))
    for text in drawing.texts:
        _draw(axes, text)
    return png_of(figure)


def _draw_path(axes: Axes, path: Path) -> None:
    xs, ys = zip(*path.points, strict=True)
    axes.plot(xs, ys, color=LINES[0], linewidth=LINE_POINTS, linestyle="--" if path.is_dashed else "-")
    head = {"arrowstyle": f"-|>,head_length={LENGTH / 20},head_width={HALF / 20}", "color": LINES[0], "shrinkA": 0}
    axes.annotate("", path.points[-1], path.points[-2], arrowprops={**head, "shrinkB": 0, "linewidth": LINE_POINTS})


def _draw(axes: Axes, shape: Rectangle | Text) -> None:
    from matplotlib.patches import Rectangle as Patch

    if isinstance(shape, Rectangle):
        color = FILLS[shape.fill][0]
        axes.add_patch(Patch((shape.x, shape.y), shape.width, shape.height, color=color, linewidth=0, zorder=3))
        return
    axes.text(
        shape.x,
        shape.y,
        escaped(shape.text).replace("$", r"\$"),
        color=FILLS[shape.role][0],
        fontsize=SIZES[shape.role] * POINTS_PER_INCH / PX_PER_INCH,
        fontweight="bold" if shape.role in BOLD else "normal",
        verticalalignment="baseline",
        zorder=4,
    )
