"""A report as one self-contained HTML file: lines, tables and pictures."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TypeAlias

from mnv2search.report.rows import Rows
from mnv2search.untrusted import escaped

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.2rem 0.7rem; text-align: right; vertical-align: bottom; }
th { border-bottom: 1px solid #222; font-weight: 600; } th span { font-weight: 400; color: #666; display: block; }
td:not(.left), td:first-child { white-space: nowrap; }
.left { text-align: left; } .stressed { font-weight: 600; } tfoot td { border-top: 1px solid #999; }
.notes { color: #555; font-size: 0.9rem; } pre { white-space: pre-wrap; font: inherit; } img { max-width: 100%; }
.wide { overflow-x: auto; }
.gallery { display: flex; flex-wrap: wrap; gap: 0.8rem; }
figure { margin: 0; width: 9rem; } figure img { width: 100%; }
figcaption { font-size: 0.8rem; line-height: 1.3; overflow-wrap: anywhere; white-space: pre-line; }
@media print {
  @page { margin: 12mm; } body { font-size: 8pt; max-width: none; margin: 0; padding: 0; } h2 { break-after: avoid; }
  .wide { overflow: visible; } table { font-size: 6.5pt; } th, td { padding: 0.1rem 0.25rem; }
  .notes { font-size: 7pt; } td:not(.left) { white-space: normal; } tr, img { break-inside: avoid; }
}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Lines of text; leading spaces are kept."""

    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A PNG, with its alternative text (`shows`)."""

    title: str
    png: bytes
    shows: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnail:
    """A small JPEG with a caption."""

    jpeg: bytes
    caption: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """Thumbnails side by side, with notes below."""

    title: str
    thumbnails: tuple[Thumbnail, ...]
    notes: tuple[str, ...] = ()


Part: TypeAlias = Lines | Picture | Rows | Gallery


def page(title: str, parts: Iterable[Part]) -> str:
    """The text of an HTML file.

    >>> "<h1>a &lt; b</h1>" in page("a < b", [])
    True
    """
    body = "\n".join(text for part in parts for text in _part(part))
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{_safe(title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<h1>{_safe(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def _part(part: Part) -> Iterator[str]:
    yield f"<h2>{_safe(part.title)}</h2>"
    if isinstance(part, Lines):
        yield f"<pre>{_safe(chr(10).join(part.lines))}</pre>"
    elif isinstance(part, Picture):
        yield _image(part.png, "png", part.shows)
    elif isinstance(part, Gallery):
        yield '<div class="gallery">'
        for one in part.thumbnails:
            caption = _safe(one.caption)
            yield f"<figure>{_image(one.jpeg, 'jpeg', one.caption)}<figcaption>{caption}</figcaption></figure>"
        yield f"</div>{_notes(part.notes)}"
    else:
        yield from _table(part)


def _image(content: bytes, kind: str, shows: str) -> str:
    return f'<img alt="{_safe(shows)}" src="data:image/{kind};base64,{base64.b64encode(content).decode("ascii")}">'


def _notes(notes: Sequence[str]) -> str:
    return f'<p class="notes">{"<br>".join(map(_safe, notes))}</p>' if notes else ""


def _table(rows: Rows) -> Iterator[str]:
    sides = ['class="left"' if column.align == "left" else "" for column in rows.columns]
    headings = (
        f"<th {side}>{_safe(column.title)}{f'<span>{_safe(column.unit)}</span>' if column.unit else ''}</th>"
        for column, side in zip(rows.columns, sides, strict=True)
    )
    yield f'<div class="wide"><table><thead><tr>{"".join(headings)}</tr></thead><tbody>'
    for number, row in enumerate(rows.rows):
        stress = ' class="stressed"' if number in rows.stressed else ""
        yield f"<tr{stress}>{_cells(row, sides)}</tr>"
    yield "</tbody>"
    if rows.footer:
        yield f"<tfoot><tr>{_cells(rows.footer, sides)}</tr></tfoot>"
    yield f"</table></div>{_notes(rows.notes)}"


def _cells(row: Sequence[str], sides: Sequence[str]) -> str:
    filled = (*row, *[""] * (len(sides) - len(row)))
    return "".join(f"<td {side}>{_safe(cell)}</td>" for cell, side in zip(filled, sides, strict=True))


def _safe(text: str) -> str:
    return escape(escaped(text))
