"""Options and value types that several commands share; imports click only."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = [
    "Count",
    "Duration",
    "device_option",
    "first_option",
    "json_option",
    "pick_option",
    "quiet_option",
    "resized_options",
]

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_DEVICE = "onnxruntime"


class Duration(click.ParamType[float]):
    """A time such as 90, 90s, 2m or 1h30m; the value is in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds that a text stands for."""
        if isinstance(value, float | int):
            return float(value)
        text = str(value).strip().lower()
        match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?", text)
        if not text or match is None:
            self.fail(f"{value!r} is not a time: write 90s, 2m or 1h30m", param, ctx)
        hours, minutes, seconds = (float(part or 0) for part in match.groups())
        total = 3600 * hours + 60 * minutes + seconds
        if total <= 0:
            self.fail(f"{value!r} is no time at all: write 90s, 2m or 1h30m", param, ctx)
        return total


class Count(click.ParamType[int]):
    """A count such as 300000000, 300M or 3.4M."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The whole number that a text stands for."""
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmMgG]?)", str(value).strip())
        number = (
            float(match[1]) * {"": 1, "k": 1e3, "m": 1e6, "g": 1e9}[match[2].lower()] if match is not None else 0.0
        )
        if number < 1:
            self.fail(f"{value!r} is not a count: write a number such as 300M or 3400000", param, ctx)
        return int(number)


class Positive(click.ParamType[float]):
    """A finite number above 0."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number that a text stands for."""
        try:
            number = float(value)
        except ValueError:
            number = 0.0
        if not 0 < number < float("inf"):
            self.fail(f"{value!r} is not a number above 0", param, ctx)
        return number


def json_option(command: F) -> F:
    """`--json`: one JSON document on stdout."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(command)


def quiet_option(command: F) -> F:
    """`-q`: no progress and no hints."""
    return click.option("-q", "--quiet", is_flag=True, help="Show no progress and no hints.")(command)


def device_option(command: F) -> F:
    """`--device`: what to measure on."""
    return click.option(
        "--device",
        default=DEFAULT_DEVICE,
        show_default=True,
        metavar="RUNTIME[:OPTIONS]",
        help="What to measure on; `mnv2search devices` lists them.",
    )(command)


def pick_option(command: F) -> F:
    """`--pick AT=VALUE`: choices where the file is a search space."""
    return click.option(
        "--pick",
        "picks",
        multiple=True,
        metavar="AT=VALUE",
        help="Choose in a search space, such as --pick blocks[1].expansion=6; may be repeated.",
    )(command)


def first_option(command: F) -> F:
    """`--first`: the first option wherever nothing was picked."""
    return click.option(
        "--first", is_flag=True, help="In a search space, take the first option of what is not picked."
    )(command)


def resized_options(command: F) -> F:
    """`--width` and `--resolution` in place of the file's."""
    width = click.option("--width", type=Positive(), metavar="X", help="Width multiplier in place of the file's.")
    side = click.option(
        "--resolution", type=click.IntRange(1), metavar="PX", help="Input side in place of the file's."
    )
    return width(side(command))
