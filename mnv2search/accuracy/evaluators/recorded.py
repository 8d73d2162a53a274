"""Accuracy looked up in a user's table."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from mnv2search.accuracy.evaluator import Evaluator, Report, changed_options
from mnv2search.accuracy.types import Accuracy, EvaluatorInfo
from mnv2search.errors import EvaluatorError, OptionError, RecordError, nearest
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.yaml import codec
from mnv2search.untrusted import UnsafeFileError, json_value, read_text

MAX_BYTES = 1 << 28
Row: TypeAlias = Mapping[str, object]
METRIC, DATASET = "top1", "the table's own"


class RecordedEvaluator(Evaluator):
    """Looks up networks in a CSV or JSON Lines (``.jsonl``) file.

    Each row has a `value` from 0 to 1, optionally `low` and `high`, and the `name` or the `hash` of a spec or both;
    for the hash see `content_hash`.
    """

    def __init__(self, *, table: str, metric: str = METRIC, dataset: str = DATASET) -> None:
        self._table, self._metric, self._dataset = table, metric, dataset
        path = Path(table)
        if not path.is_file():
            raise OptionError(f"there is no file {table}", hint="write recorded:PATH of a .csv or .jsonl file")
        self._found: dict[tuple[str, str], tuple[float, float, float]] = {}
        for line, row in _rows(path, _text(path)):
            self._add(row, f"{table}:{line}")

    def _add(self, row: Row, where: str) -> None:
        try:
            value = _number(row.get("value"))
            low, high = (_number(row.get(end) or value) for end in ("low", "high"))
        except (ValueError, OverflowError) as error:
            raise RecordError(
                f"{where}: no number under 'value'", hint="each row needs a value from 0 to 1"
            ) from error
        if not 0 <= low <= value <= high <= 1:
            raise RecordError(
                f"{where}: value {value}, low {low}, high {high}", hint="write 0 <= low <= value <= high <= 1"
            )
        keys = [(kind, str(row[kind])) for kind in ("name", "hash") if row.get(kind)]
        if not keys:
            raise RecordError(f"{where}: neither a name nor a hash", hint="give each row the name of its spec")
        for key in keys:
            if self._found.setdefault(key, (value, low, high)) != (value, low, high):
                raise RecordError(
                    f"{where}: {key[0]} {key[1]!r} has another value in an earlier row", hint="keep one row"
                )

    @property
    def info(self) -> EvaluatorInfo:
        """Meaning of the accuracies."""
        changed = changed_options(metric=(self._metric, METRIC), dataset=(self._dataset, DATASET))
        name, detail = f"recorded:{changed}{self._table}", f"looked up in {self._table}"
        return EvaluatorInfo(name=name, kind="recorded", dataset=self._dataset, metric=self._metric, detail=detail)

    def evaluate(self, spec: ModelSpec, *, seed: int, report: Report | None = None) -> Accuracy:
        """The recorded accuracy of `spec`, found by its hash or else by its name."""
        del report, seed
        found = self._found.get(("hash", content_hash(spec))) or self._found.get(("name", spec.name))
        if found is None:
            near = nearest(spec.name, [name for kind, name in self._found if kind == "name"])
            raise EvaluatorError(
                f"{self._table} has no row for {spec.name!r} (hash {content_hash(spec)})",
                hint=f"near names: {', '.join(near)}" if near else "add a row with its name or hash",
            )
        value, low, high = found
        return Accuracy(value=value, low=low, high=high, metric=self._metric, kind="recorded", dataset=self._dataset)


def content_hash(spec: ModelSpec) -> str:
    """Hash of a spec without its name, as twelve hex digits."""
    return hashlib.sha256(codec.dumps(replace(spec, name="x")).encode()).hexdigest()[:12]


def _number(value: object) -> float:
    if not isinstance(value, str | int | float):
        raise ValueError(f"{value!r} is not a number")
    return float(value)


def _text(path: Path) -> str:
    try:
        return read_text(path, max_bytes=MAX_BYTES)
    except (OSError, UnsafeFileError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise RecordError(f"{path}: cannot be read: {why}", hint="write a .csv or .jsonl file in UTF-8") from error


def _rows(path: Path, text: str) -> Iterator[tuple[int, Row]]:
    """The rows with their line numbers; a CSV row that spans several lines has the number of its last line."""
    if path.suffix == ".jsonl":
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                yield number, _decoded(line, f"{path}:{number}")
        return
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        place = f"{path}:{reader.line_num + 1}"
        raise RecordError(f"{place}: is not CSV: {error}", hint="check the quotes here") from error


def _decoded(line: str, where: str) -> Row:
    try:
        row = json_value(line)
    except UnsafeFileError as error:
        raise RecordError(f"{where}: not a line of JSON: {error}", hint="write one object per line") from error
    if not isinstance(row, dict):
        raise RecordError(f"{where}: not an object", hint='write {"name": …, "value": …}')
    return row
