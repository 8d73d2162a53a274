"""Options and parameter types that several commands share; imports only click and names for shell completion."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar, cast

import click
from click.shell_completion import CompletionItem

from mnv2search.cli.names import (
    Names,
    completions,
    device_names,
    run_names,
    space_names,
    spec_names,
    weights_names,
)


class NonEmptyText(click.ParamType[str]):
    """A text such as a name; an empty text is an error.

    `names` returns the completions; with `or_file`, files are completed too.
    """

    name = "text"

    def __init__(self, names: Names | None = None, *, or_file: bool = False) -> None:
        self._names = names
        self._or_file = or_file

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The names that begin with `incomplete`."""
        del param
        return completions(self._names(ctx) if self._names else (), incomplete, or_file=self._or_file)

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text itself."""
        if value == "":
            self.fail("the value is empty", param, ctx)
        return str(value)


class NonEmptyPath(click.Path):
    """A path to read from or to write to; an empty text is an error instead of the current folder.

    `names` returns completions other than paths.
    """

    def __init__(self, names: Names | None = None, *, file_okay: bool = True, dir_okay: bool = True) -> None:
        super().__init__(file_okay=file_okay, dir_okay=dir_okay, path_type=Path)
        self._names = names

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Files or folders, and the names that begin with `incomplete`."""
        del param
        names = self._names(ctx) if self._names else ()
        return completions(names, incomplete, or_file=self.file_okay, or_folder=not self.file_okay)

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Convert a text to a path."""
        if value == "":
            self.fail("the path is empty", param, ctx)
        return Path(os.fsdecode(super().convert(str(value), param, ctx)))


class Duration(click.ParamType[float]):
    """A time such as 90, 90s, 2m or 1h30m, converted to seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Convert a text to seconds."""
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
        """Convert a text to an integer."""
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
        """Convert a text to a resolution."""
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
        """Convert a text to a number."""
        try:
            number = float(str(value))
        except ValueError:
            number = 0.0
        if not 0 < number < float("inf"):
            self.fail(f"{value!r} is not a number above 0", param, ctx)
        return number


F = TypeVar("F", bound=Callable[..., object])


class _Decorator(Protocol):
    """Adds options to a command."""

    def __call__(self, command: F, /) -> F:
        """The command with the options."""
        ...


DEFAULT_DEVICE = "onnxruntime"
# Copied from `mnv2search.spec.heads.outputs`, which takes long to import.
HEAD_OUTPUTS = ("raw", "boxes", "detections", "logits", "resized", "classes")
NAMED_WEIGHTS = (
    "a name of `mnv2search weights list`; or imagenet, for the published weights on this machine that fit best."
)
PRECISIONS = ("fp32", "fp16", "bf16", "int8")
PRECISION_HELP = "Precision of weights and activations on the device; fp32 unless the device sets another."
FILE = NonEmptyPath(dir_okay=False)
FOLDER = NonEmptyPath(file_okay=False)
DEVICE = NonEmptyText(device_names)
SPEC = NonEmptyText(spec_names, or_file=True)
SPACE = NonEmptyText(space_names, or_file=True)
RUN = NonEmptyText(run_names)
RUN_FOLDER = NonEmptyPath(run_names, file_okay=False)
WEIGHTS = NonEmptyPath(weights_names, dir_okay=False)


json: _Decorator = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
quiet: _Decorator = click.option("-q", "--quiet", is_flag=True, help="Show no progress and no hints.")
force: _Decorator = click.option("--force", is_flag=True, help="Overwrite existing files.")
void: _Decorator = click.option("--void", type=click.IntRange(0, 255), default=255, help="Mask value to ignore.")
output_dir: _Decorator = click.option(
    "--output-dir", "output_dir", type=FOLDER, default=Path("results"), help="Folder that holds the folders of runs."
)


def table(command: F) -> F:
    """`--json`, `--csv` and `--markdown`, at most one; the parameters are `as_json` and `table_format`."""

    @functools.wraps(command)
    def chosen(*given: object, as_json: bool, as_csv: bool, as_markdown: bool, **named: object) -> object:
        asked = [name for name, on in (("json", as_json), ("csv", as_csv), ("markdown", as_markdown)) if on]
        if len(asked) > 1:
            raise click.UsageError(f"--{asked[0]} and --{asked[1]} exclude each other: leave one of them out")
        tables = asked[0] if asked and not as_json else None
        return command(*given, as_json=as_json, table_format=tables, **named)

    csv = click.option("--csv", "as_csv", is_flag=True, help="Print tables as CSV, separated by empty lines.")
    markdown = click.option("--markdown", "as_markdown", is_flag=True, help="Print tables as Markdown.")
    return cast("F", json(csv(markdown(chosen))))


def output(command: F) -> F:
    """`--json` and `--quiet`."""
    return json(quiet(command))


def text(
    *names: str, metavar: str, help: str, default: str | None = None, kind: NonEmptyText | None = None
) -> _Decorator:
    """An option whose value is a nonempty text; `kind` sets its shell completion."""
    return click.option(*names, type=kind or NonEmptyText(), metavar=metavar, default=default, help=help)


def choice(name: str, words: Sequence[str], *, help: str | None = None, default: str | None = None) -> _Decorator:
    """An option whose value is one of `words`."""
    return click.option(name, type=click.Choice(words), default=default, help=help)


def data(
    help: str = "Images to train on; `mnv2search data --help` lists the layouts.", *, required: bool = True
) -> _Decorator:
    """`--data`: a dataset."""
    return click.option("--data", required=required, type=NonEmptyPath(), metavar="DATA", help=help)


def normalization(help: str = "Normalization of the images (default: that of the training).") -> _Decorator:
    """`--normalization`: a name of `mnv2search.recipe.NORMALIZATIONS`."""
    return choice("--normalization", ("imagenet", "tensorflow", "unit"), help=help)


def accelerator(verb: str) -> _Decorator:
    """`--accelerator`: the kind of torch device."""
    help = f"Device to {verb} on; auto uses CUDA if it is available."
    return choice("--accelerator", ("auto", "cpu", "cuda"), default="auto", help=help)


def file_precision(help: str) -> _Decorator:
    """`--precision` of files and counts."""
    return choice("--precision", ("fp32", "fp16", "int8"), default="fp32", help=help)


def seed(help: str = "Seed of all random draws.") -> _Decorator:
    """`--seed`: an integer of at least 0."""
    return click.option("--seed", type=click.IntRange(0), default=0, help=help)


def time(help: str = "Stop measuring after this time, such as 30s.", *, default: str | None = None) -> _Decorator:
    """`--time`: in seconds."""
    return click.option("--time", type=Duration(), default=default, metavar="TIME", help=help)


def epochs(help: str, *, default: int | None = None) -> _Decorator:
    """`--epochs`: an integer of at least 1."""
    return click.option("--epochs", type=click.IntRange(1), default=default, help=help)


def folder(help: str, *, default: Path | None = None) -> _Decorator:
    """`-o`: a folder to write to."""
    return click.option("-o", "--output", type=FOLDER, default=default, metavar="FOLDER", help=help)


def space(
    help: str, *, default: str | tuple[str, ...] | None = None, required: bool = False, multiple: bool = False
) -> _Decorator:
    """`--space`: file or bundled name of a search space."""
    return click.option(
        "--space",
        type=SPACE,
        default=default,
        required=required,
        multiple=multiple,
        metavar="FILE|NAME",
        help=help,
    )


def storage(help: str, *, required: bool = False) -> _Decorator:
    """`--storage`: the storage of workers; the environment variable is the default."""
    kind = NonEmptyText(or_file=True)
    return click.option(
        "--storage", envvar="MNV2SEARCH_STORAGE", type=kind, required=required, metavar="FILE|URL", help=help
    )


def weights(help: str, *, spec_help: str = "Network to which the published weights in --from belong.") -> _Decorator:
    """`--from` as `from_`, and `--from-spec`: initial weights, and the network of published weights."""
    weights = click.option("--from", "from_", type=WEIGHTS, metavar="FILE|NAME", help=f"{help} {NAMED_WEIGHTS}")
    spec = text("--from-spec", metavar="SPEC", help=spec_help, kind=SPEC)
    return lambda command: weights(spec(command))


def device(command: F) -> F:
    """`--device` and `--precision`: the device to measure on; several identical devices form a pool."""
    device = click.option(
        "--device",
        type=DEVICE,
        default=(DEFAULT_DEVICE,),
        multiple=True,
        callback=_device_text,
        metavar="RUNTIME[:OPTIONS][@HOST]",
        help="Device to measure on; `mnv2search devices` lists them. Repeat it to share the work among identical "
        "devices.",
    )
    precision = click.option(
        "--precision",
        type=click.Choice(PRECISIONS),
        is_eager=True,
        expose_value=False,
        callback=_remember_precision,
        help=PRECISION_HELP,
    )
    return device(precision(command))


def prediction(command: F) -> F:
    """`--device` and `--precision`: the device of a predicted latency, and the precision of latency and memory."""
    device = text(
        "--device",
        kind=DEVICE,
        metavar="RUNTIME[:OPTIONS][@HOST]",
        help="Predict latency on this device from earlier measurements of other networks; the prediction itself "
        "measures nothing.",
    )
    precision = file_precision(
        "Precision of the predicted latency and of the counted memory (weights and activations)."
    )
    return device(precision(command))


def _remember_precision(context: click.Context, _: click.Parameter, value: str | None) -> None:
    context.meta["mnv2search.precision"] = value


def _device_text(context: click.Context, _: click.Parameter, value: tuple[str, ...]) -> str:
    from mnv2search.latency.device_text import device_text  # late: --help must not pay for it

    return device_text(value, context.meta.get("mnv2search.precision"))


def network(*, head_output: bool = False, classes: bool = False) -> _Decorator:
    """Options that choose or change the network named by an argument.

    The parameters are `width`, `resolution`, `pick`, `first` and, if requested, `head_output` and `classes`.
    """
    options = [
        click.option("--width", type=Positive(), metavar="X", help="Width multiplier (overrides the file's)."),
        click.option(
            "--resolution",
            type=Resolution(),
            metavar="PX",
            help="Input side, or height and width such as 1025x2049 (overrides the file's).",
        ),
        click.option(
            "--pick",
            type=NonEmptyText(),
            multiple=True,
            metavar="AT=VALUE",
            help="Make one choice of a search space, such as --pick width=0.5. May be repeated.",
        ),
        click.option("--first", is_flag=True, help="Take the first option of every choice that is not picked."),
    ]
    if head_output:
        of_head = click.option(
            "--head-output",
            type=click.Choice(HEAD_OUTPUTS),
            help="Output of a detector (raw, boxes, detections) or segmenter (logits, resized, classes) "
            "(overrides the file's); detections includes non-maximum suppression.",
        )
        options.insert(2, of_head)
    if classes:
        of_classes = click.option(
            "--classes", type=click.IntRange(1), metavar="N", help="Number of classes (overrides the file's)."
        )
        options.insert(2, of_classes)
    return lambda command: functools.reduce(lambda made, option: option(made), reversed(options), command)


def run_folder(command: F) -> F:
    """`FOLDER`: the folder of a run, or its name in `results`."""
    argument = click.argument("folder", type=RUN_FOLDER, callback=lambda _, __, folder: _existing_run(folder))
    return argument(command)


def run_folders(command: F) -> F:
    """`FOLDER...`: folders of runs, or their names in `results`; the parameter is `folders`."""
    argument = click.argument(
        "folders",
        nargs=-1,
        required=True,
        metavar="FOLDER...",
        type=RUN_FOLDER,
        callback=lambda _, __, folders: tuple(map(_existing_run, folders)),
    )
    return argument(command)


def _existing_run(folder: Path) -> Path:
    from mnv2search.workflows.search.log import run_folder  # late: --help must not pay for it

    return run_folder(folder)
