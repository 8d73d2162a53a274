"""Options of the commands as keywords of Python functions."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

F = TypeVar("F", bound=Callable[..., object])


def takes(options: type, defaults: Mapping[str, object]) -> Callable[[F], F]:
    """Shows the keys of a `TypedDict`, which a function takes as `options`, in its signature and documentation."""

    def shown(function: F) -> F:
        signature = inspect.signature(function)
        own = [one for name, one in signature.parameters.items() if name != "options"]
        added = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=defaults.get(name), annotation=kind.__forward_arg__
            )
            for name, kind in options.__annotations__.items()
        ]
        ordered = sorted([*own, *added], key=lambda one: (one.kind, one.name.startswith("on_")))
        function.__signature__ = signature.replace(parameters=ordered)  # type: ignore[attr-defined]
        fields = (inspect.getdoc(options) or "").partition("Attributes:\n")[2]
        function.__doc__ = re.sub(r"(?m)^ +options: .*$", lambda _: fields, inspect.getdoc(function) or "")
        return function

    return shown


def path_of(given: str | Path | None) -> Path | None:
    """The path, if one is given."""
    return None if given is None else Path(given)


def paths_of(given: Sequence[str | Path] | str | Path) -> list[Path]:
    """One path or several as a list."""
    return [Path(one) for one in ([given] if isinstance(given, str | Path) else given)]
