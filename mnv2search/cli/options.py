"""Options and value types that several commands share; imports click only."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

__all__ = [
    "Count",
    "Duration",
    "InputPath",
    "device_option",
    "first_option",
    "head_output_option",
    "json_option",
    "pick_option",
    "quiet_option",
    "resized_options",
    "run_folder_argument",
    "void_option",
    "with_precision",
]

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_DEVICE = "onnxruntime"
# Those of `mnv2search.spec.heads.outputs`, which would have to be imported.
HEAD_OUTPUTS = ("raw", "boxes", "detections", "logits", "resized", "classes")
PRECISIONS = ("fp32", "fp16", "bf16", "int8")
# Stands between the devices of a pool in its text.
POOL = " + "


class InputPath(click.Path):
    """A path to read from; an empty text is an error instead of the current folder."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path that a text stands for."""
        if value == "":
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)


class Duration(click.ParamType[float]):
    """A time such as 90, 90s, 2m or 1h30m; the value is in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds that a text stands for."""
        from mnv2search.errors import OptionError  # late: only a given time needs them
        from mnv2search.study.deadline import seconds_of

        try:
            return seconds_of(value) or 0.0
        except OptionError as error:
            self.fail(f"{error.message}: {error.hint}", param, ctx)


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


class Resolution(click.ParamType[int | tuple[int, int]]):
    """The side of a square such as 224, or height and width such as 1025x2049, in px."""

    name = "resolution"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | tuple[int, int]:
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
    """`--device` and `--precision`: what to measure on; several devices of one kind are joined to a pool."""
    device = click.option(
        "--device",
        default=(DEFAULT_DEVICE,),
        show_default=True,
        multiple=True,
        callback=_device_text,
        metavar="RUNTIME[:OPTIONS][@HOST]",
        help="What to measure on; `mnv2search devices` lists them. Several equal ones share the work.",
    )
    precision = click.option(
        "--precision",
        type=click.Choice(PRECISIONS),
        is_eager=True,
        expose_value=False,
        callback=_remember_precision,
        help="Of weights and activations on the device; fp32 where neither this nor the device says otherwise.",
    )
    return device(precision(command))


def _remember_precision(context: click.Context, _: click.Parameter, value: str | None) -> None:
    context.meta["mnv2search.precision"] = value


def _device_text(context: click.Context, _: click.Parameter, value: tuple[str, ...]) -> str:
    precision = context.meta.get("mnv2search.precision")
    return POOL.join(text if precision is None else with_precision(text, precision) for text in value)


def with_precision(text: str, precision: str) -> str:
    """The text of a device with the option `precision`.

    >>> with_precision("litert", "int8"), with_precision("litert:threads=2@ssh://pi", "int8")
    ('litert:precision=int8', 'litert:threads=2,precision=int8@ssh://pi')

    Raises:
        click.UsageError: the text asks for another one.
    """
    address, at, host = text.partition("@")
    name, _, options = address.partition(":")
    known = [option for option in options.split(",") if option]
    named = [option for option in known if option.startswith("precision=")]
    if named and named != [f"precision={precision}"]:
        raise click.UsageError(f"--precision {precision} contradicts --device {text}: leave one of them out")
    known += [] if named else [f"precision={precision}"]
    return f"{name}:{','.join(known)}{at}{host}"


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


def head_output_option(command: F) -> F:
    """`--head-output`: what a detector or a segmenter answers, in place of the file's `head.output`."""
    return click.option(
        "--head-output",
        type=click.Choice(HEAD_OUTPUTS),
        help="What a detector (raw, boxes, detections) or segmenter (logits, resized, classes) answers, in place of "
        "the file's; detections has non-maximum suppression in it.",
    )(command)


def void_option(command: F) -> F:
    """`--void`: mask value to ignore."""
    return click.option(
        "--void",
        type=click.IntRange(0, 255),
        default=255,
        show_default=True,
        help="Mask value to ignore.",
    )(command)


def resized_options(command: F) -> F:
    """`--width` and `--resolution` in place of the file's."""
    width = click.option("--width", type=Positive(), metavar="X", help="Width multiplier in place of the file's.")
    size = click.option(
        "--resolution",
        type=Resolution(),
        metavar="PX",
        help="Input side in place of the file's, or height and width such as 1025x2049.",
    )
    return width(size(command))


def run_folder_argument(command: F) -> F:
    """`FOLDER`: of a run, as given or, where there is none, of that name in `results`."""

    def found(_: click.Context, __: click.Parameter, folder: Path) -> Path:
        inside = Path("results") / folder
        return inside if folder.parent == Path() and not folder.exists() and inside.exists() else folder

    return click.argument("folder", type=click.Path(path_type=Path), callback=found)(command)
