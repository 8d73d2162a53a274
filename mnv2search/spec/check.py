"""All problems of a file as values, for tools that list them."""

from __future__ import annotations

from collections.abc import Callable

from mnv2search.errors import Diagnostic, Mnv2SearchError, SpecError
from mnv2search.spec.yaml.codec import load

__all__ = ["check"]


def check(file: str, *, load: Callable[[str], object] = load) -> tuple[Diagnostic, ...]:
    """The diagnostics of a spec or space; none where it loads.

    Args:
        file: path, bundled name or ``-`` for standard input, as `load` takes it.
        load: what reads it.
    """
    try:
        load(file)
    except SpecError as error:
        return error.diagnostics
    except Mnv2SearchError as error:
        return (Diagnostic(at="", message=error.message, hint=error.hint, file=file),)
    return ()
