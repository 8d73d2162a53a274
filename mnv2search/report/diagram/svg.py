"""A block diagram as an SVG file, which is light or dark as its viewer asks."""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import escape

from mnv2search.report.diagram.layout import Drawing, Path, Rectangle, Shape
from mnv2search.untrusted import escaped

# Colours by class: light, dark.
FILLS = {
    "paper": ("#ffffff", "#0d1117"),
    "stem": ("#eceff3", "#262c34"),
    "block": ("#dce8fd", "#1b2f52"),
    "part": ("#ece3fa", "#332551"),
    "track": ("#c3ccd6", "#3d444d"),
    "share": ("#c2410c", "#f0883e"),
    "title": ("#1f2328", "#e6edf3"),
    "name": ("#1f2328", "#e6edf3"),
    "text": ("#1f2328", "#e6edf3"),
    "muted": ("#50565e", "#b3bcc6"),
}
LINES = ("#50565e", "#b3bcc6")
# Sizes of texts in px.
SIZES = {"title": 14, "name": 12, "text": 11, "muted": 11}
BOLD = ("title", "name")
# Half the width, and the length, of an arrow head in px.
HEAD = (3.5, 7)


def svg_of(drawing: Drawing) -> str:
    """The text of an SVG file with a title, a description, and a style for light and dark."""
    style = f"{rules()}@media (prefers-color-scheme:dark){{{rules(is_dark=True)}}}"
    background = Rectangle(0, 0, drawing.width, drawing.height, "paper")
    return _document(drawing, f"<style>{style}</style>\n{_element(background)}\n")


def embedded_svg(drawing: Drawing) -> str:
    """The drawing as an element of a page, which has the `rules`; without a background."""
    return _document(drawing, "")


def rules(*, is_dark: bool = False, prefix: str = "") -> str:
    """The colours of drawings as rules of a style sheet, for elements below `prefix`."""
    fills = [f"{prefix}.diagram .{name}{{fill:{colours[is_dark]}}}" for name, colours in FILLS.items()]
    line = f"{prefix}.diagram .line{{stroke:{LINES[is_dark]};fill:none}}"
    head = f"{prefix}.diagram .head{{fill:{LINES[is_dark]}}}"
    return "".join((*fills, line, head))


def _document(drawing: Drawing, before: str) -> str:
    title, described = (escape(escaped(text)) for text in (drawing.title, drawing.described))
    shapes = "\n".join(element for shape in drawing.shapes for element in _elements(shape))
    size = f'width="{drawing.width:g}" height="{drawing.height:g}"'
    box = f'viewBox="0 0 {drawing.width:g} {drawing.height:g}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="diagram" {size} {box} role="img" '
        f'aria-labelledby="diagram-title diagram-described" font-family="system-ui, sans-serif">\n'
        f'<title id="diagram-title">{title}</title>\n<desc id="diagram-described">{described}</desc>\n'
        f"{before}{shapes}\n</svg>\n"
    )


def _elements(shape: Shape) -> Iterator[str]:
    yield _element(shape)
    if isinstance(shape, Path) and shape.has_arrow:
        points = " ".join(f"{x:g},{y:g}" for x, y in head_of(shape))
        yield f'<polygon class="head" points="{points}"/>'


def _element(shape: Shape) -> str:
    if isinstance(shape, Rectangle):
        size = f'width="{shape.width:g}" height="{shape.height:g}"'
        return f'<rect class="{shape.fill}" x="{shape.x:g}" y="{shape.y:g}" {size}/>'
    if isinstance(shape, Path):
        points = " ".join(f"{x:g},{y:g}" for x, y in shape.points)
        dashes = ' stroke-dasharray="4 3"' if shape.is_dashed else ""
        return f'<polyline class="line" points="{points}"{dashes}/>'
    bold = ' font-weight="600"' if shape.role in BOLD else ""
    anchor = "" if shape.anchor == "start" else f' text-anchor="{shape.anchor}"'
    place = f'x="{shape.x:g}" y="{shape.y:g}" font-size="{SIZES[shape.role]}"'
    return f'<text class="{shape.role}" {place}{bold}{anchor}>{escape(escaped(shape.text))}</text>'


def head_of(path: Path) -> tuple[tuple[float, float], ...]:
    """The corners of the arrow head at the end of a path, whose last line is horizontal or vertical."""
    (x0, y0), (x, y) = path.points[-2:]
    half, length = HEAD
    dx, dy = (x > x0) - (x < x0), (y > y0) - (y < y0)
    back = x - length * dx, y - length * dy
    return (x, y), (back[0] - half * dy, back[1] - half * dx), (back[0] + half * dy, back[1] + half * dx)
