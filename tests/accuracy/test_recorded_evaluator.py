import json
from dataclasses import replace
from pathlib import Path

import pytest

from mnv2search.accuracy.evaluator import AccuracyEvaluator
from mnv2search.accuracy.evaluators.recorded import RecordedEvaluator, content_hash
from mnv2search.errors import EvaluatorError, OptionError, RecordError
from mnv2search.spec.model_spec import BlockSpec, ModelSpec

SPEC = ModelSpec(name="one", blocks=(BlockSpec(channels=24),), resolution=32)


def written(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_csv_file_is_searched_by_name(tmp_path: Path) -> None:
    evaluator = RecordedEvaluator(table=written(tmp_path, "a.csv", "name,value,low,high\none,0.5,0.4,\ntwo,0.6,,\n"))
    found = evaluator.evaluate(SPEC, seed=0)
    assert isinstance(evaluator, AccuracyEvaluator)
    assert (found.value, found.low, found.high, found.kind) == (0.5, 0.4, 0.5, "recorded")


def test_a_hash_goes_before_a_name_and_does_not_know_names(tmp_path: Path) -> None:
    rows = [{"name": "one", "value": 0.5}, {"hash": content_hash(SPEC), "value": 0.7}]
    evaluator = RecordedEvaluator(table=written(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)) + "\n"))
    assert evaluator.evaluate(SPEC, seed=0).value == 0.7
    assert evaluator.evaluate(replace(SPEC, name="renamed"), seed=0).value == 0.7
    assert evaluator.evaluate(replace(SPEC, resolution=64), seed=0).value == 0.5


def test_a_network_without_a_row_is_an_error_with_near_names(tmp_path: Path) -> None:
    evaluator = RecordedEvaluator(table=written(tmp_path, "a.csv", "name,value\nones,0.5\n"))
    with pytest.raises(EvaluatorError, match="no row for 'one'") as caught:
        evaluator.evaluate(SPEC, seed=0)
    assert "ones" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("name,value\none,\n", "a.csv:2: no number under 'value'"),
        ("name,top1\none,0.5\n", "a.csv:2: no number under 'value'"),
        ("name,value\none,0.5\ntwo,71.8\n", "a.csv:3: value 71.8"),
        ("name,value\none,nan\n", "value nan"),
        ('name,value\n"one,0.5\n', "a.csv:2: is not CSV"),
        ("name,value\n,0.5\n", "neither a name nor a hash"),
        ("name,value\none,0.5\none,0.6\n", "a.csv:3: name 'one' has another value in an earlier row"),
    ],
)
def test_a_bad_row_is_refused_with_its_line(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(RecordError, match=what):
        RecordedEvaluator(table=written(tmp_path, "a.csv", text))


@pytest.mark.parametrize(
    ("line", "what"), [("{", "a.jsonl:2: not a line of JSON"), ("[1]", "a.jsonl:2: not an object")]
)
def test_a_bad_line_of_json_is_refused_with_its_line(tmp_path: Path, line: str, what: str) -> None:
    with pytest.raises(RecordError, match=what):
        RecordedEvaluator(table=written(tmp_path, "a.jsonl", f"\n{line}\n"))


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(OptionError, match=r"there is no file no-such\.csv"):
        RecordedEvaluator(table="no-such.csv")


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b'{"name": "one", "value": 1' + b"0" * 400 + b"}", "a.jsonl:1: no number under 'value'"),
        (b"[" * 100_000, "a.jsonl:1: not a line of JSON: its values are nested too deeply"),
        (b'{"name": "\xff", "value": 0.5}', "a.jsonl: cannot be read: it is not UTF-8 text: byte 0xff on line 1"),
        (b'{"name": "one", "value": NaN}', "a.jsonl:1: not a line of JSON: it is not JSON: NaN is not a number"),
    ],
    ids=["too large", "too deep", "not UTF-8", "not a number"],
)
def test_a_line_that_python_would_choke_on_is_refused(tmp_path: Path, line: bytes, what: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(line + b"\n")
    with pytest.raises(RecordError, match=what):
        RecordedEvaluator(table=str(tmp_path / "a.jsonl"))
