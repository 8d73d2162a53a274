"""Accuracy returned by a user's Python function."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import SupportsFloat

from mnv2search.accuracy.evaluator import Evaluator, Report, StopEarly, changed_options
from mnv2search.accuracy.types import Accuracy, EvaluatorInfo
from mnv2search.errors import EvaluatorError, OptionError
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.untrusted import escaped

# Characters of a value shown in a message.
SHOWN = 200
METRIC, DATASET = "top1", "the function's own"


class PythonEvaluator(Evaluator):
    """Calls ``function(spec, seed)``, which returns a number from 0 to 1 or an `Accuracy`.

    Args:
        function: ``module:function``, or ``path/to/file.py:function``.
    """

    def __init__(self, *, function: str, metric: str = METRIC, dataset: str = DATASET) -> None:
        self._name, self._metric, self._dataset = function, metric, dataset
        self._function = _found(function)

    @property
    def info(self) -> EvaluatorInfo:
        """Meaning of the accuracies."""
        changed = changed_options(metric=(self._metric, METRIC), dataset=(self._dataset, DATASET))
        name, detail = f"python:{changed}{self._name}", f"returned by {self._name}"
        return EvaluatorInfo(name=name, kind="reported", dataset=self._dataset, metric=self._metric, detail=detail)

    def evaluate(self, spec: ModelSpec, *, seed: int, report: Report | None = None) -> Accuracy:
        """The accuracy that the function returns; exceptions of the function are raised as `EvaluatorError`."""
        del report
        try:
            found = self._function(spec, seed)
            value = found if isinstance(found, Accuracy) else _ratio(found)
        except (StopEarly, KeyboardInterrupt):
            raise
        except BaseException as error:  # also SystemExit, so that sys.exit() does not end the run
            raise EvaluatorError(
                f"{self._name} raised {described(error)}",
                hint="it is called with (spec, seed); call it with this spec on its own",
            ) from error
        if isinstance(value, Accuracy):
            return value
        if value is None:
            raise EvaluatorError(
                f"{self._name} returned {shown(found)}", hint="return a number from 0 to 1, or an Accuracy"
            )
        return Accuracy(
            value=value, low=value, high=value, metric=self._metric, kind="reported", dataset=self._dataset, seed=seed
        )


def _ratio(found: object) -> float | None:
    """The value as a float if it is a number, including a NumPy scalar; None otherwise."""
    if isinstance(found, str | bytes | bool) or not isinstance(found, SupportsFloat):
        return None
    try:
        value = float(found)
    except (TypeError, ValueError, OverflowError):  # an array, or a number too large for a float
        return None
    return value if 0 <= value <= 1 else None


def described(error: BaseException) -> str:
    """Type and text of an exception, even if converting it to text raises another exception.

    >>> described(SystemExit())
    'SystemExit'
    """
    return f"{type(error).__name__}: {shown(error, str)}".removesuffix(": ")


def shown(value: object, text: Callable[[object], str] = repr) -> str:
    """Short printable text of a value for a message, even if converting it to text raises an exception."""
    try:
        return escaped(text(value)[:SHOWN])
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - the user's code may raise anything
        return f"<a {type(value).__name__} whose text raises {type(error).__name__}>"


def _found(name: str) -> Callable[[ModelSpec, int], object]:
    where, colon, attribute = name.rpartition(":")
    if not colon or not where or not attribute:
        raise OptionError(
            f"{name!r} does not name a function", hint="write python:module:function or python:file.py:function"
        )
    function = _imported(where, attribute)
    if not callable(function):
        raise OptionError(f"{name} is not a function", hint="write the name of a function in it")
    return function


def _imported(where: str, attribute: str) -> object:
    """The attribute of a module; any exception of the import is raised as `OptionError`."""
    try:
        module = _module(where)
        if not hasattr(module, attribute):
            raise OptionError(f"{where} has no {attribute}", hint="write the name of a function in it")
        return getattr(module, attribute)
    except (OptionError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a module may raise anything, including SystemExit
        is_absent = isinstance(error, ImportError)
        hint = "install it, or write the path of a file" if is_absent else "import it on its own to see where"
        why = shown(error, str) if is_absent else described(error)
        raise OptionError(f"{where} cannot be imported: {why}", hint=hint) from error


def _module(where: str) -> ModuleType:
    if not where.endswith(".py"):
        return importlib.import_module(where)
    path = Path(where)
    if not path.is_file():
        raise OptionError(f"there is no file {where}", hint="write the path of a Python file")
    found = importlib.util.spec_from_file_location(path.stem, path)
    if found is None or found.loader is None:
        raise OptionError(f"{where} is not a Python file", hint="write the path of a Python file")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module
