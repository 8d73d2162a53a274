"""The accuracy that a Python function of the user's returns."""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from mnv2search.accuracy.types import Accuracy, EvaluatorInfo, Report, StopEarly, changed_options
from mnv2search.errors import EvaluatorError, OptionError
from mnv2search.spec.model_spec import ModelSpec

__all__ = ["PythonEvaluator"]

METRIC, DATASET = "top1", "the function's own"


class PythonEvaluator:
    """Calls ``function(spec, seed)``, which returns a number from 0 to 1 or an `Accuracy`.

    Args:
        function: ``module:function``, or ``path/to/file.py:function``.
        metric: what a returned number is.
        dataset: on which images.
    """

    def __init__(self, *, function: str, metric: str = METRIC, dataset: str = DATASET) -> None:
        self._name, self._metric, self._dataset = function, metric, dataset
        self._function = _found(function)

    @property
    def info(self) -> EvaluatorInfo:
        """What the numbers mean, as far as can be known."""
        changed = changed_options(metric=(self._metric, METRIC), dataset=(self._dataset, DATASET))
        return EvaluatorInfo(
            name=f"python:{changed}{self._name}",
            version="1",
            kind="reported",
            dataset=self._dataset,
            metric=self._metric,
            detail=f"returned by {self._name}",
        )

    def evaluate(self, spec: ModelSpec, *, seed: int, report: Report | None = None) -> Accuracy:
        """What the function returns for `spec`.

        Raises:
            EvaluatorError: the function raises, chained to what it raises, or returns something else.
        """
        del report
        try:
            told = self._function(spec, seed)
        except StopEarly:
            raise
        except Exception as error:
            raise EvaluatorError(
                f"{self._name} raised {type(error).__name__}: {error}", hint="call it with this spec on its own"
            ) from error
        if isinstance(told, Accuracy):
            return told
        try:
            value = math.nan if isinstance(told, str | bytes | bool) else float(told)
        except (TypeError, ValueError):
            value = math.nan
        if not 0 <= value <= 1:
            raise EvaluatorError(
                f"{self._name} returned {told!r}", hint="return a number from 0 to 1, or an Accuracy"
            )
        return Accuracy(
            value=value, low=value, high=value, metric=self._metric, kind="reported", dataset=self._dataset, seed=seed
        )


def _found(name: str) -> Callable[[ModelSpec, int], Any]:
    where, colon, attribute = name.rpartition(":")
    if not colon or not where or not attribute:
        raise OptionError(
            f"{name!r} does not name a function", hint="write python:module:function or python:file.py:function"
        )
    try:
        function = getattr(_module(where), attribute)
    except ImportError as error:
        raise OptionError(
            f"{where} cannot be imported: {error}", hint="install it, or write the path of a file"
        ) from error
    except AttributeError as error:
        raise OptionError(f"{where} has no {attribute}", hint="write the name of a function in it") from error
    if not callable(function):
        raise OptionError(f"{name} is not a function", hint="write the name of a function in it")
    found: Callable[[ModelSpec, int], Any] = function
    return found


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
