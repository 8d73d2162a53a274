"""The JSON Schema: up to date, accepting what the codec accepts, and stricter than nothing."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings

from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.package_files import search_spaces_dir
from mnv2search.spec.space import SearchSpace
from mnv2search.spec.yaml.codec import dumps
from mnv2search.spec.yaml.schema import json_schema, schema_text
from mnv2search.spec.yaml.source import Items, Node, Table, Text, parse
from mnv2search.testing.strategies import search_spaces, specs

FILES = sorted(search_spaces_dir().rglob("*.yaml"))
VALIDATOR = jsonschema.Draft7Validator(json_schema())
relaxed = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much], deadline=None)


def as_json(node: Node) -> Any:
    """The tree as an editor sees it, which reads YAML 1.2: numbers, true and false, and text."""
    if isinstance(node, Items):
        return [as_json(item) for item in node.items]
    if isinstance(node, Table):
        return {key.text: as_json(value) for key, value in node.entries}
    assert isinstance(node, Text)
    is_json = node.is_plain and re.fullmatch(r"true|false|-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?", node.text)
    return json.loads(node.text) if is_json else node.text


def errors(text: str) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(as_json(parse(text, file="f.yaml")[1]))]


def test_the_shipped_schema_is_up_to_date() -> None:
    assert (search_spaces_dir() / "schema.json").read_text(encoding="utf-8") == schema_text()


def test_the_schema_is_one() -> None:
    jsonschema.Draft7Validator.check_schema(json_schema())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_shipped_file_validates(path: Path) -> None:
    assert errors(path.read_text(encoding="utf-8")) == []


@relaxed
@given(specs() | search_spaces())
def test_whatever_is_written_validates(value: ModelSpec | SearchSpace) -> None:
    assert errors(dumps(value)) == []


@pytest.mark.parametrize(
    "entry",
    [
        "widht: 1.0",
        "width: 0",
        "width: wide",
        "resolution: 9999",
        "resolution: 1.5",
        "padding: sane",
        "keep_stem: on",
        "output_stride: 6",
        "head: {classes: 0}",
        "head: [1]",
        "stem: {k: 4}",
        "columns: [t, n]",
        "last: nothing",
    ],
)
def test_a_bad_entry_does_not_validate(entry: str) -> None:
    good = "mnv2search: 1\nname: one\nblocks: [{c: 24}]\n"
    assert errors(good) == []
    assert errors(f"{good}{entry}\n")


@pytest.mark.parametrize("row", ["{t: 6}", "{c: 24, s: 3}", "{c: 24, k: 4}", "{c: 24, each: {n: [1, 2]}}", "[]", "7"])
def test_a_bad_row_does_not_validate(row: str) -> None:
    assert errors(f"mnv2search: 1\nname: one\nblocks: [{row}]\n")


def test_fields_carry_their_description_and_default() -> None:
    kernel = json_schema()["definitions"]["row"]["properties"]["k"]
    assert kernel["default"] == 3
    assert "depthwise kernel" in kernel["description"]
