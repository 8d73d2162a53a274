"""Types of values on the command line; imports click only."""

from __future__ import annotations

import os
import re
from pathlib import Path

import click


class NonEmptyText(click.ParamType[str]):
    """A text such as a name; an empty one is an error."""

    name = "text"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text itself."""
        if value == "":
            self.fail("the value is empty", param, ctx)
        return str(value)


class NonEmptyPath(click.Path):
    """A path to read from or to write to; an empty text is an error instead of the current folder."""

    def __init__(self, *, file_okay: bool = True, dir_okay: bool = True) -> None:
        super().__init__(file_okay=file_okay, dir_okay=dir_okay, path_type=Path)

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path that a text stands for."""
        if value == "":
            self.fail("the path is empty", param, ctx)
        return Path(os.fsdecode(super().convert(str(value), param, ctx)))


class Duration(click.ParamType[float]):
    """A time such as 90, 90s, 2m or 1h30m; the value is in seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds that a text stands for."""
        from mnv2search.errors import OptionError  # late: only a given time needs them
        from mnv2search.study.deadline import seconds_of

        try:
            return seconds_of(value if isinstance(value, int | float) else str(value)) or 0.0
        except OptionError as error:
            self.fail(f"{error.message}: {error.hint}", param, ctx)


class Count(click.ParamType[int]):
    """A count such as 300000000, 300M or 3.4M."""

    name = "count"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The whole number that a text stands for."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmMgG]?)", str(value).strip())
        number = 0.0 if match is None else float(match[1]) * {"": 1, "k": 1e3, "m": 1e6, "g": 1e9}[match[2].lower()]
        if number < 1:
            self.fail(f"{value!r} is not a count: write a number such as 300M or 3400000", param, ctx)
        return int(number)


class Resolution(click.ParamType[int | tuple[int, int]]):
    """The side of a square such as 224, or height and width such as 1025x2049, in px."""

    name = "resolution"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | tuple[int, int]:
        """The resolution that a text stands for."""
        from mnv2search.spec.size import resolution_of  # late: the package behind it is heavy

        if not re.fullmatch(r"[1-9]\d{0,4}(?:x[1-9]\d{0,4})?", text := str(value).strip()):
            self.fail(
                f"{value!r} is no size: write a side such as 224, or height and width such as 1025x2049", param, ctx
            )
        return resolution_of(text)


class Positive(click.ParamType[float]):
    """A finite number above 0."""

    name = "number"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number that a text stands for."""
        try:
            number = float(str(value))
        except ValueError:
            number = 0.0
        if not 0 < number < float("inf"):
            self.fail(f"{value!r} is not a number above 0", param, ctx)
        return number
