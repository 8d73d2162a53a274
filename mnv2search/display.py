"""Short representations of results, and tables of them in notebooks and in rich.

`mnv2search.report.notebook` draws the tables. It is looked up when a notebook shows a value, since values are defined
in layers below it.
"""

from __future__ import annotations

import pkgutil
import reprlib
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

if TYPE_CHECKING:
    from rich.console import ConsoleOptions, RenderableType

RENDERER = "mnv2search.report.notebook"
# Items of a listing that are printed, and characters of each.
MOST_ITEMS, MOST_CHARACTERS = 6, 160
JOINED = "\n "

T = TypeVar("T")

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60
_SHORT.maxtuple = _SHORT.maxlist = _SHORT.maxdict = 2
_SHORT.maxlevel = 2


class _Tables:
    """A value that notebooks and rich show as tables."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return cast("str", rendered("html_of", self))

    def __rich_console__(self, console: object, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield cast("RenderableType", rendered("rich_of", self, width=options.max_width))


class Displayed(_Tables):
    """A dataclass with a repr of one line, and with tables in notebooks and in rich.

    The repr leaves out default values and shortens long ones. A dataclass needs ``repr=False`` to inherit it.
    """

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __repr__(self) -> str:
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.repr}
        defaults = {field.name: _default(field) for field in fields(self)}
        shown = [f"{name}={_SHORT.repr(value)}" for name, value in values.items() if value != defaults[name]]
        return f"{type(self).__name__}({' '.join(', '.join(shown).split())})"


class Listing(tuple[T, ...], _Tables):
    """A tuple whose repr shows only the first items, and that notebooks and rich show as a table."""

    __slots__ = ()

    def __repr__(self) -> str:
        shown = [_cut(repr(one)) for one in self[:MOST_ITEMS]]
        more = [f"and {len(self) - MOST_ITEMS} more"] if len(self) > MOST_ITEMS else []
        return f"[{JOINED.join([*shown, *more])}]"


class PngImage(bytes):
    """The content of a PNG file, which notebooks show as an image."""

    def __repr__(self) -> str:
        return f"<PNG image of {len(self):,} bytes>"

    def _repr_png_(self) -> bytes:
        return bytes(self)

    def save(self, path: str | Path) -> None:
        """Write the file, atomically.

        Raises:
            WriteError: the file cannot be written.
        """
        from mnv2search.atomic import write_bytes  # late: only a saved image needs it

        write_bytes(Path(path), self)


def rendered(function: str, value: object, **options: object) -> object:
    """The result of a function of `RENDERER` for a value."""
    render = cast("Callable[..., object]", pkgutil.resolve_name(f"{RENDERER}:{function}"))
    return render(value, **options)


def _default(field: Field[Any]) -> object:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MOST_CHARACTERS else f"{line[: MOST_CHARACTERS - 4]} ..."
