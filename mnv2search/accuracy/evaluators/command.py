"""Accuracy printed by a user's program."""

from __future__ import annotations

import shlex
import signal
import tempfile
from pathlib import Path

from mnv2search.accuracy.evaluator import Evaluator, Report, changed_options
from mnv2search.accuracy.program import ProgramTimeoutError, end_orphans, run_program
from mnv2search.accuracy.types import Accuracy, EvaluatorInfo
from mnv2search.errors import EvaluatorError, OptionError
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.yaml import codec
from mnv2search.untrusted import escaped, json_value

# Lines shown of a failed program's standard error.
STDERR_LINES = 8
STDERR_CHARACTERS = 2000
# Characters of a value shown in a message.
SHOWN = 80
# A year; much longer timeouts overflow.
MOST_TIMEOUT_S = 365 * 86_400

METRIC, DATASET = "top1", "the command's own"


class CommandEvaluator(Evaluator):
    """Runs a program with the path of a spec, and reads the accuracy from its last line of output.

    The last line of standard output is a number from 0 to 1, or a JSON object with `value` and optionally `low` and
    `high`, the ends of a 90 % interval. The program has no input and is started without a shell. When it ends or
    times out, or when this process is killed, all processes that it started are killed. If it fails, the end of its
    standard error is shown.

    Args:
        run: program and its arguments; ``{spec}`` is replaced by the path of a YAML file (appended if absent), and
            ``{seed}`` by the seed.
        timeout_s: time limit for one network in seconds.
        metric: name of the metric that the program prints.
        dataset: name of the dataset that the program uses.
    """

    def __init__(self, *, run: str, timeout_s: float = 600.0, metric: str = METRIC, dataset: str = DATASET) -> None:
        try:
            self._words = tuple(shlex.split(run))
        except ValueError as error:
            raise OptionError(
                f"the command {run!r} cannot be split into words: {error}", hint="close the quotes"
            ) from error
        if "\0" in run:
            raise OptionError("the command holds a NUL character", hint="leave it out")
        if not self._words:
            raise OptionError("the command is empty", hint="write command:PROGRAM {spec}")
        if not 0 < timeout_s <= MOST_TIMEOUT_S:
            raise OptionError(
                f"timeout_s is {timeout_s:g}", hint=f"write a number of seconds above 0, at most {MOST_TIMEOUT_S:,}"
            )
        if not any("{spec}" in word for word in self._words):
            self._words += ("{spec}",)
        self._has_looked_for_orphans = False
        self._run, self._timeout_s, self._metric, self._dataset = run, timeout_s, metric, dataset

    @property
    def info(self) -> EvaluatorInfo:
        """Meaning of the accuracies."""
        changed = changed_options(metric=(self._metric, METRIC), dataset=(self._dataset, DATASET))
        name = f"command:timeout_s={self._timeout_s:g},{changed}run={self._run}"
        detail = f"printed by {self._words[0]}"
        return EvaluatorInfo(name=name, kind="reported", dataset=self._dataset, metric=self._metric, detail=detail)

    def evaluate(self, spec: ModelSpec, *, seed: int, report: Report | None = None) -> Accuracy:
        """The number that the program prints for `spec`."""
        del report  # a program has no intermediate accuracies
        with tempfile.TemporaryDirectory(prefix="mnv2search-", ignore_cleanup_errors=True) as folder:
            path = Path(folder) / "spec.yaml"
            path.write_text(codec.dumps(spec), encoding="utf-8")
            words = [word.replace("{spec}", str(path)).replace("{seed}", str(seed)) for word in self._words]
            printed, complaint = self._output(words)
        return self._accuracy(printed, complaint, seed)

    def _output(self, words: list[str]) -> tuple[str, str]:
        if not self._has_looked_for_orphans:
            end_orphans()
            self._has_looked_for_orphans = True
        try:
            done = run_program(words, timeout_s=self._timeout_s)
        except OSError as error:
            raise EvaluatorError(
                f"the command {words[0]!r} cannot be started: {error.strerror}",
                hint="write the path of an executable file; no shell is involved",
            ) from error
        except ProgramTimeoutError as error:
            raise self._failed(f"took longer than {self._timeout_s:g} s", error.errors) from error
        if done.code != 0:
            raise self._failed(_ending(done.code), done.errors)
        return done.output, done.errors

    def _accuracy(self, printed: str, complaint: str, seed: int) -> Accuracy:
        lines = printed.strip().splitlines()
        if not lines:
            raise self._failed("printed nothing", complaint)
        try:
            value, low, high = _numbers(json_value(lines[-1]))
        except ValueError as error:
            raise self._failed(f"printed {lines[-1][:SHOWN]!r} as its last line: {error}", complaint) from error
        return Accuracy(
            value=value, low=low, high=high, metric=self._metric, kind="reported", dataset=self._dataset, seed=seed
        )

    def _failed(self, what: str, complaint: str) -> EvaluatorError:
        tail = escaped("\n".join(complaint.strip().splitlines()[-STDERR_LINES:])[-STDERR_CHARACTERS:])
        return EvaluatorError(
            f"the command {self._words[0]!r} {what}" + (f"; the end of its standard error:\n{tail}" if tail else ""),
            hint='its last line must be a number from 0 to 1, or {"value": …, "low": …, "high": …}',
        )


def _numbers(told: object) -> tuple[float, float, float]:
    if isinstance(told, dict):
        if unknown := sorted(set(told) - {"value", "low", "high"}):
            raise ValueError(f"the key {_short(unknown[0])} is not one of value, low, high")
        if "value" not in told:
            raise ValueError("the key 'value' is missing")
    else:
        told = {"value": told}
    value = _ratio(told["value"])
    low, high = _ratio(told.get("low", value)), _ratio(told.get("high", value))
    if not low <= value <= high:
        raise ValueError(f"value {value} is not between low {low} and high {high}")
    return value, low, high


def _ratio(number: object) -> float:
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise ValueError(f"{_short(number)} is not a number")
    if not 0 <= number <= 1:
        raise ValueError(f"{_short(number)} is not from 0 to 1")
    return float(number)


def _short(value: object) -> str:
    return repr(value)[:SHOWN]


def _ending(code: int | None) -> str:
    if code is None:
        return "killed its supervisor process"
    if code > 0:
        return f"exited with {code}"
    names = {number.value: number.name for number in signal.Signals}
    return f"was ended by {names.get(-code, f'signal {-code}')}"
