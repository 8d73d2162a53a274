"""The JSON Schema of spec files, generated from the types and the rule tables, for editors to complete and check.

``python -m mnv2search.spec.yaml.schema`` writes it to search_spaces/schema.json.
"""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import MISSING, fields
from typing import Any

from mnv2search.spec import model_spec as ms
from mnv2search.spec.heads.registry import SHIPPED
from mnv2search.spec.package_files import search_spaces_dir
from mnv2search.spec.rows import MAX_UNITS
from mnv2search.spec.rules import MAX_LISTED, MAX_NAME_BYTES, Entries, Rule, rules_of
from mnv2search.spec.space_rules import MAX_OPTIONS
from mnv2search.spec.yaml.fields import FORMAT_VERSION, keys_of

Schema = dict[str, Any]

_NUMBERS = {"integer", "number"}


def json_schema() -> Schema:
    """The schema (draft 7) of a spec or search space file.

    It covers every key, type, range and word; rules that relate several keys are checked only by the codec.
    """
    channels = _scalar(rules_of(ms.ExtraLayer)["channels"])
    heads = {kind.word: kind for kind in SHIPPED}
    properties: Schema = {
        "mnv2search": {"const": FORMAT_VERSION, "description": "version of this format"},
        "stem": {"$ref": "#/definitions/stem"},
        "columns": {
            "description": "keys of the entries of rows that are written as plain lists",
            "type": "array",
            "items": {"enum": list(keys_of(ms.BlockSpec))},
            "uniqueItems": True,
            "contains": {"const": "c"},
        },
        "blocks": {
            "description": "the rows of the network, from stem to last convolution",
            "type": "array",
            "items": {"anyOf": [{"$ref": "#/definitions/row"}, {"$ref": "#/definitions/bare_row"}]},
            "minItems": 1,
            "maxItems": MAX_UNITS,
        },
        "head": {"anyOf": [*({"$ref": f"#/definitions/{word}"} for word in heads), {"enum": ["none", *heads]}]},
        "batch_norm": {"$ref": "#/definitions/batch_norm"},
        **_properties(ms.ModelSpec),
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "mnv2search spec or search space",
        **_object(properties, required=["mnv2search", "name", "blocks"]),
        "definitions": {
            "stem": _object(_properties(ms.Stem)),
            **{word: _head(word, kind) for word, kind in heads.items()},
            "extra": {"anyOf": [channels, _object(_properties(ms.ExtraLayer), required=["c"])]},
            "batch_norm": _object(_properties(ms.BatchNorm)),
            "row": _row(),
            "bare_row": {"type": "array", "items": {"$ref": "#/definitions/cell"}, "minItems": 1},
            "cell": {"anyOf": [_SCALAR, {"type": "array", "items": _SCALAR, "minItems": 1}, _RANGE]},
            "range": _RANGE,
        },
    }


def schema_text() -> str:
    """The schema as the text of search_spaces/schema.json."""
    return json.dumps(json_schema(), indent=1, sort_keys=True) + "\n"


_SCALAR: Schema = {"type": ["integer", "number", "string", "boolean"]}
_RANGE: Schema = {
    "type": "object",
    "description": "every step from one number to another, both included",
    "properties": {"from": {"type": "number"}, "to": {"type": "number"}, "step": {"type": "number"}},
    "required": ["from", "to", "step"],
    "additionalProperties": False,
}


def _object(properties: Schema, *, required: list[str] | None = None) -> Schema:
    whole: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**whole, "required": required} if required else whole


def _head(word: str, kind: type) -> Schema:
    properties = {"kind": {"const": word, "description": "which head"}, **_properties(kind)}
    if kind is ms.SsdLite:
        extras: Schema = {"type": "array", "items": {"$ref": "#/definitions/extra"}, "maxItems": MAX_LISTED}
        described = _descriptions(kind)["extras"]
        properties["extras"] = {"description": described, "anyOf": [extras, {"const": "none"}]}
    return _object(properties, required=None if kind is ms.Classifier else ["kind"])


def _row() -> Schema:
    properties = _properties(ms.BlockSpec)
    each = {key: schema for key, schema in properties.items() if key not in ("n", "s")}
    properties["each"] = {"description": "choices that every repeat makes on its own", **_object(each)}
    return {**_object(properties), "anyOf": [{"required": ["c"]}, {"required": ["each"]}]}


def _properties(kind: type) -> Schema:
    described = _descriptions(kind)
    defaults = {f.name: f.default for f in fields(kind)}
    properties: Schema = {}
    for key, name in keys_of(kind).items():
        rule = rules_of(kind)[name]
        scalar = _scalar(rule)
        schema = scalar if rule.kind == "text" else _choosable(scalar)
        if rule.entries is not None:
            schema = _list(scalar, rule.entries)
        if name == "resolution":
            sides = {"height": scalar, "width": scalar}
            schema = {"anyOf": [*schema["anyOf"], _object(sides, required=list(sides))]}
        if name in described:
            schema = {"description": described[name], **schema}
        default = defaults[name]
        if default is not MISSING and default is not None:
            schema = {**schema, "default": list(default) if isinstance(default, tuple) else default}
        properties[key] = schema
    return properties


def _list(scalar: Schema, entries: Entries) -> Schema:
    several = {"type": "array", "items": scalar, "minItems": entries.fewest, "maxItems": entries.most}
    return several if entries.fewest else {"anyOf": [several, {"const": "none"}]}


def _choosable(scalar: Schema) -> Schema:
    """A value, a list of choices or, for numbers, a range."""
    several = {"type": "array", "items": scalar, "minItems": 1, "maxItems": MAX_OPTIONS, "uniqueItems": True}
    is_number = scalar.get("type") in _NUMBERS or "anyOf" in scalar or isinstance(scalar.get("enum", [""])[0], int)
    return {"anyOf": [scalar, several, *([{"$ref": "#/definitions/range"}] if is_number else [])]}


def _scalar(rule: Rule) -> Schema:
    least, most, is_open, is_odd = rule.range
    if rule.kind == "word":
        return {"enum": list(rule.words)}
    if rule.kind == "boolean":
        return {"type": "boolean"}
    if rule.kind == "real":
        return {"type": "number", "exclusiveMinimum" if is_open else "minimum": float(least), "maximum": float(most)}
    if rule.kind == "text" and rule.pattern is not None:
        return {"type": "string", "pattern": f"^(?:{rule.pattern.pattern})$"}
    if rule.kind == "text":
        return {"type": ["string", "number"], "maxLength": MAX_NAME_BYTES, "pattern": r"^[^./\\-][^/\\]*$"}
    integer: Schema = {"type": "integer", "minimum": least, "maximum": most}
    if rule.options is not None:
        integer = {"enum": list(rule.options.numbers)}
    elif is_odd:
        integer["not"] = {"multipleOf": 2}
    return {"anyOf": [integer, {"const": "none"}]} if rule.is_optional else integer


def _descriptions(kind: type) -> dict[str, str]:
    """The description of each field in the docstring's `Attributes` section."""
    section = (inspect.getdoc(kind) or "").partition("Attributes:\n")[2].partition("\n\n")[0]
    found = re.findall(r"^    (\w+): (.+?)(?=^    \w|\Z)", section, flags=re.MULTILINE | re.DOTALL)
    return {name: " ".join(text.split()).replace("`", "") for name, text in found}


if __name__ == "__main__":
    (search_spaces_dir() / "schema.json").write_text(schema_text(), encoding="utf-8")
