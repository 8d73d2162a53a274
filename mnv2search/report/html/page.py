"""A report as one self-contained HTML file, made of lines of text, tables, pictures, charts and an explorer."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from mnv2search.report.diagram.svg import rules
from mnv2search.report.rows import Rows
from mnv2search.untrusted import escaped

if TYPE_CHECKING:
    from jinja2 import Environment

ASSETS = files("mnv2search.report.html").joinpath("assets")
PLOTLY = "plotly-basic.min.js"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Lines of text; leading spaces are kept."""

    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A PNG image.

    Attributes:
        shows: alternative text.
    """

    title: str
    png: bytes
    shows: str


class Thumbnail(NamedTuple):
    """A small JPEG with a caption."""

    jpeg: bytes
    caption: str


class Gallery(NamedTuple):
    """Thumbnails side by side, with notes below."""

    title: str
    thumbnails: tuple[Thumbnail, ...]
    notes: tuple[str, ...] = ()


class Folded(NamedTuple):
    """A table that is hidden until it is clicked; prints always show it."""

    title: str
    rows: Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """An interactive chart.

    Attributes:
        traces: traces of plotly.js; a colour such as ``--front`` names a variable of `page.css`.
        layout: layout of plotly.js.
        shows: alternative text.
    """

    title: str
    traces: tuple[Mapping[str, object], ...]
    layout: Mapping[str, object]
    shows: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Explorer:
    """A chart in which networks can be selected, with a panel about the selected one; `page.js` reads `data`."""

    title: str
    data: Mapping[str, object]
    notes: tuple[str, ...] = ()


def rounded(value: float) -> float:
    """A value with five significant digits, which are enough for a chart."""
    return float(f"{value:.5g}")


Part: TypeAlias = Lines | Picture | Rows | Gallery | Folded | Chart | Explorer


def page(title: str, parts: Iterable[Part]) -> str:
    """The text of an HTML file, whose content security policy forbids loading anything.

    Scripts, among them the compressed plotting library, are embedded only if there are charts.

    >>> "<h1>a &lt; b</h1>" in page("a < b", [])
    True
    """
    shown = [(type(part).__name__.lower(), part) for part in parts]
    data = [_data(part) for _, part in shown if isinstance(part, Chart | Explorer)]
    scripts = [_asset("page.js"), _asset(PLOTLY)] if data else []
    return (
        _environment()
        .get_template("page.html.jinja")
        .render(
            title=title,
            parts=shown,
            style=_style(),
            data=_compressed(_json(data)),
            library=_library() if data else "",
            script=_asset("page.js"),
            hashes=" ".join(f"'sha256-{_base64(hashlib.sha256(text.encode()).digest())}'" for text in scripts),
        )
    )


def fragment(parts: Iterable[Rows | Sequence[str]]) -> str:
    """The HTML of tables and lines of text, to be shown inside another page.

    >>> "<pre>a &lt; b</pre>" in fragment([["a < b"]])
    True
    """
    macros = _environment().get_template("parts.html.jinja").module
    return str(getattr(macros, "parts_of")(list(parts)))  # noqa: B009 - a macro is no attribute that mypy knows


def _data(part: Chart | Explorer) -> Mapping[str, object]:
    if isinstance(part, Explorer):
        return {"explorer": part.data}
    return {"traces": part.traces, "layout": part.layout}


def _escaped(value: object) -> object:
    """A JSON value whose texts have no control characters."""
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, Mapping):
        return {escaped(key): _escaped(one) for key, one in value.items()}
    if isinstance(value, Sequence):
        return [_escaped(one) for one in value]
    return value


@cache
def _environment() -> Environment:
    from jinja2 import Environment, StrictUndefined  # late: only pages need it
    from jinja2.loaders import FunctionLoader
    from markupsafe import Markup

    environment = Environment(
        loader=FunctionLoader(_asset),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: escaped(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"base64": _base64, "verbatim": Markup}
    return environment


@cache
def _asset(name: str) -> str:
    return ASSETS.joinpath(name).read_text(encoding="utf-8")


@cache
def _style() -> str:
    dark = rules(is_dark=True, prefix=":root:not([data-print]) ")
    return f"{_asset('page.css')}{rules()}@media (prefers-color-scheme:dark){{{dark}}}"


def _json(value: object) -> str:
    return json.dumps(_escaped(value), allow_nan=False, separators=(",", ":"))


@cache
def _library() -> str:
    return _compressed(_asset(PLOTLY))


def _compressed(text: str) -> str:
    return _base64(gzip.compress(text.encode(), compresslevel=9, mtime=0))


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
