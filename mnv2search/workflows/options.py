"""Convert options of the commands, given as keyword arguments, to networks and paths."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import TypedDict, TypeVar

from mnv2search.errors import OptionError
from mnv2search.model.weights.places import OURS
from mnv2search.spec.heads.outputs import with_output
from mnv2search.spec.model_spec import Classifier, DeepLab, ModelSpec, SsdLite
from mnv2search.spec.rules import changed
from mnv2search.spec.size import Resolution
from mnv2search.spec.space import SearchSpace, resolve_values
from mnv2search.spec.yaml.codec import load

F = TypeVar("F", bound=Callable[..., object])


class SpecOptions(TypedDict, total=False):
    """Choices and changes of a network; see `chosen_spec`.

    Attributes:
        width: width multiplier (overrides the file).
        resolution: side, or height and width (overrides the file).
        head_output: output of a detector or segmenter (overrides the file).
        pick: choices of a search space, each as ``AT=VALUE``.
        first: take the first option of every choice that is not picked.
    """

    width: float | None
    resolution: Resolution | None
    head_output: str | None
    pick: Sequence[str] | str
    first: bool


SPEC_DEFAULTS: SpecOptions = {"pick": (), "first": False}


def takes(options: type, defaults: Mapping[str, object], *, without: str = "") -> Callable[[F], F]:
    """Show the keys of a `TypedDict` passed as `**options` in the signature and docstring of a function.

    The key `without` is left out, since it has no effect there.
    """

    def shown(function: F) -> F:
        signature = inspect.signature(function)
        own = [one for name, one in signature.parameters.items() if name != "options"]
        added = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=defaults.get(name), annotation=kind.__forward_arg__
            )
            for name, kind in options.__annotations__.items()
            if name != without
        ]
        ordered = sorted([*own, *added], key=lambda one: (one.kind, one.name.startswith("on_")))
        function.__signature__ = signature.replace(parameters=ordered)  # type: ignore[attr-defined]
        fields = (inspect.getdoc(options) or "").partition("Attributes:\n")[2]
        fields = re.sub(rf"(?m)^ +{without}: .*\n", "", fields) if without else fields
        function.__doc__ = re.sub(r"(?m)^ +options: .*$", lambda _: fields, inspect.getdoc(function) or "")
        return function

    return shown


def path_of(given: str | Path | None) -> Path | None:
    """The path, if one is given."""
    return None if given is None else Path(given)


def paths_of(given: Sequence[str | Path] | str | Path) -> list[Path]:
    """One path or several as a list."""
    return [Path(one) for one in ([given] if isinstance(given, str | Path) else given)]


def specs_of(
    given: Sequence[ModelSpec | SearchSpace | str | Path] | ModelSpec | SearchSpace | str | Path,
) -> Sequence[ModelSpec | SearchSpace | str | Path]:
    """One network or several as a list."""
    return [given] if isinstance(given, ModelSpec | SearchSpace | str | Path) else given


def chosen_spec(
    source: str | Path | ModelSpec | SearchSpace,
    *,
    pick: Sequence[str] | str = (),
    first: bool = False,
    width: float | None = None,
    resolution: Resolution | None = None,
    head_output: str | None = None,
    classes: int | None = None,
    rng: Random | None = None,
) -> ModelSpec:
    """The network of a file, bundled name, spec or search space, with the choices of a search space made.

    `source` may be ``-`` for standard input. `pick` are options of a search space, each as ``AT=VALUE``; with
    `first`, every choice that is not picked takes its first option; with `rng`, it takes a random one. The other
    arguments override the file.

    Raises:
        SpecError: the file has problems, or is a search space with choices left open.
        WeightsError: a `.pt` or `.pt2` file was not written by mnv2search.
        OptionError: a pick is not of the form AT=VALUE, or a head has no such output or no classes.
    """
    if isinstance(source, ModelSpec | SearchSpace):
        loaded, name = source, source.name
    else:
        name = str(source)
        loaded = saved_spec(name) or load(name, wanted="spec")
    if isinstance(loaded, SearchSpace):
        loaded = _picked(loaded, picks=[pick] if isinstance(pick, str) else pick, first=first, rng=rng)
    elif pick:
        raise OptionError(f"{name} is one network: there is nothing to pick", hint="leave --pick out")
    elif rng is not None:
        raise OptionError(f"{name} is one network: there is nothing to draw", hint="leave --random out")
    changes = {"width": width, "resolution": resolution}
    sized = changed(loaded, {name: value for name, value in changes.items() if value is not None})
    sized = sized if classes is None else _with_classes(sized, classes)
    return sized if head_output is None else with_output(sized, head_output)


def _with_classes(spec: ModelSpec, classes: int) -> ModelSpec:
    if not isinstance(spec.head, Classifier | SsdLite | DeepLab):
        raise OptionError(f"{spec.name} has no head that predicts classes", hint="leave --classes out")
    return replace(spec, head=replace(spec.head, classes=classes))


def check_output(path: Path, *, force: bool) -> None:
    """Check that a file may be written, before any work is done for it.

    Raises:
        OptionError: the file exists and `force` is false, or its folder is missing or read-only.
    """
    if path.exists() and not force:
        raise OptionError(f"{path} exists", hint="choose another name, or overwrite it with --force")
    if not path.parent.is_dir():
        raise OptionError(f"the folder of {path} does not exist", hint=f"make it: mkdir -p {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise OptionError(f"the folder of {path} cannot be written to", hint="choose another folder")


def saved_spec(name: str) -> ModelSpec | None:
    """The spec in a `.pt` or `.pt2` file of mnv2search; None for other names.

    Raises:
        OptionError: there is no such file.
        WeightsError: the file was not written by mnv2search.
    """
    if not name.endswith(OURS):
        return None
    if not Path(name).exists():
        raise OptionError(f"there is no file {name}", hint="check the path")
    from mnv2search.model.weights.network_file import read_spec  # late: only such a file needs torch

    return read_spec(Path(name))


def _picked(space: SearchSpace, *, picks: Sequence[str], first: bool, rng: Random | None) -> ModelSpec:
    values: dict[str, str] = {}
    for pick in picks:
        at, separator, value = pick.partition("=")
        if not separator:
            raise OptionError(f"--pick {pick}", hint="write --pick AT=VALUE, such as --pick width=0.5")
        values[at.strip()] = value.strip()
    return resolve_values(space, values, rest=rng or ("first" if first else "refuse"))
