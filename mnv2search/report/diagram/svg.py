"""A block diagram as an SVG file, which is light or dark as its viewer asks."""

from __future__ import annotations

from xml.sax.saxutils import escape

from mnv2search.report.diagram.layout import Drawing, Path, Rectangle, Text
from mnv2search.untrusted import escaped

NAMESPACE = "http://www.w3.org/2000/svg"
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
HALF, LENGTH = 3.5, 7


def svg_of(drawing: Drawing) -> str:
    """The text of an SVG file with a title, a description, and a style for light and dark."""
    style = f"{rules()}@media (prefers-color-scheme:dark){{{rules(is_dark=True)}}}"
    background = _rectangle(Rectangle(0, 0, drawing.width, drawing.height, "paper"))
    described = f"<desc>{_text(drawing.described)}</desc><style>{style}</style>\n{background}\n"
    return _document(drawing, described).replace("<svg ", f'<svg xmlns="{NAMESPACE}" ', 1) + "\n"


def embedded_svg(drawing: Drawing) -> str:
    """The drawing as an element of an HTML page, which has the `rules`; without description and background."""
    return _document(drawing, "")


def rules(*, is_dark: bool = False, prefix: str = "") -> str:
    """The style of drawings below elements that match `prefix`."""
    fills = [f"{prefix}.diagram .{name}{{fill:{colours[is_dark]}}}" for name, colours in FILLS.items()]
    lines = (
        f"{prefix}.diagram .lines{{stroke:{LINES[is_dark]};fill:none}}{prefix}.diagram .head{{fill:{LINES[is_dark]}}}"
    )
    sizes = [
        f"{prefix}.diagram .{name}{{font:{600 if name in BOLD else 400} {size}px system-ui,sans-serif}}"
        for name, size in SIZES.items()
    ]
    return "".join((*fills, lines, *([] if is_dark else sizes)))


def _document(drawing: Drawing, before: str) -> str:
    size = f'width="{drawing.width:g}" height="{drawing.height:g}"'
    box = f'viewBox="0 0 {drawing.width:g} {drawing.height:g}"'
    marker = (
        f'<marker id="head" viewBox="0 0 {LENGTH} {2 * HALF:g}" markerWidth="{LENGTH}" markerHeight="{2 * HALF:g}" '
        f'refX="{LENGTH}" refY="{HALF:g}" orient="auto" markerUnits="userSpaceOnUse">'
        f'<path class="head" d="M0 0L{LENGTH} {HALF:g}L0 {2 * HALF:g}z"/></marker>'
    )
    paths = "".join(map(_path, drawing.paths))
    groups = "".join(
        f'<g transform="translate({group.x:g} {group.y:g})">{"".join(map(_shape, group.shapes))}</g>\n'
        for group in drawing.boxes
    )
    return (
        f'<svg class="diagram" {size} {box} role="img"><title>{_text(drawing.title)}</title>{before}{marker}'
        f'<g class="lines" marker-end="url(#head)">{paths}</g>\n{groups}{"".join(map(_shape, drawing.texts))}</svg>'
    )


def _text(text: str) -> str:
    return escape(escaped(text))


def _path(path: Path) -> str:
    (x, y), *others = path.points
    corners = "".join(f"L{x:g} {y:g}" for x, y in others)
    dashes = ' stroke-dasharray="4 3"' if path.is_dashed else ""
    return f'<path d="M{x:g} {y:g}{corners}"{dashes}/>'


def _shape(shape: Rectangle | Text) -> str:
    if isinstance(shape, Rectangle):
        return _rectangle(shape)
    return f'<text class="{shape.role}" x="{shape.x:g}" y="{shape.y:g}">{_text(shape.text)}</text>'


def _rectangle(shape: Rectangle) -> str:
    size = f'width="{shape.width:g}" height="{shape.height:g}"'
    return f'<rect class="{shape.fill}" x="{shape.x:g}" y="{shape.y:g}" {size}/>'
