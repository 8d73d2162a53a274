"""The YAML keys of fields, and the conversion of scalars between text and value."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from dataclasses import replace
from functools import cache

from mnv2search.errors import Problem
from mnv2search.spec import model_spec as ms
from mnv2search.spec.rules import Rule, field_problem, rules_of
from mnv2search.spec.space_rules import Scalar, text_of

FORMAT_VERSION = 1
DEFAULT_COLUMNS = ("t", "c", "n", "s")
# Keys of a file whose values are not scalars.
STRUCTURAL = ("mnv2search", "stem", "columns", "blocks", "head", "batch_norm")

# Fields whose keys differ from their names: the paper's letters (only in rows and similar), and shorter words.
LETTERS = {"expansion": "t", "channels": "c", "repeats": "n", "stride": "s", "kernel": "k"}
SHORTER = {"last_channels": "last", "channel_divisor": "divisor"}


def keys_of(kind: type) -> Mapping[str, str]:
    """YAML key -> field of a value, in the order of writing."""
    return _cached_keys(kind)


@cache
def _cached_keys(kind: Hashable) -> Mapping[str, str]:
    assert isinstance(kind, type)
    short = LETTERS if kind in (ms.Stem, ms.BlockSpec, ms.ExtraLayer) else SHORTER
    names = sorted((name for name, rule in rules_of(kind).items() if rule.kind != "part"), key="expansion".__ne__)
    return {short.get(name, name): name for name in names}


_INTEGER = re.compile(r"-?(?:0|[1-9]\d*)")
_REAL = re.compile(r"-?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")
_LONGEST_NUMBER = 40
# Texts that YAML 1.1 silently reads as something else.
_TRAPS = (
    (re.compile(r"[-+]?0[0-9_]+"), "a leading 0 means base 8 to some readers"),
    (re.compile(r"[-+]?[0-9]+(?::[0-9.]+)+"), "a colon means base 60 to some readers"),
    (re.compile(r"[-+]?0[xXbBoO].*"), "only decimal numbers are read"),
    (re.compile(r"[-+]?[0-9]+_[0-9_]*"), "underscores are not read"),
    (re.compile(r"\+.*"), "leave the plus sign out"),
    (re.compile(r"[-+]?\.?(?:nan|inf|infinity)", re.IGNORECASE), "only finite numbers are read"),
)


def scalar_of(kind: type, name: str, text: str, *, is_plain: bool) -> Scalar | Problem:
    """The value of one field from its text, or its problem.

    >>> scalar_of(ms.BlockSpec, "stride", "2", is_plain=True)
    2
    >>> scalar_of(ms.BlockSpec, "stride", "010", is_plain=True).fix
    'a leading 0 means base 8 to some readers: use 1 to keep the resolution or 2 to halve it'
    """
    value: Scalar = text
    rule = rules_of(kind)[name]
    if rule.is_number:
        if not is_plain:
            return Problem(at=name, what=f"{name} is {text[:40]!r} in quotes", fix="write the number without quotes")
        if text == "none" and rule.is_optional:
            return None
        value = _number(text)
    elif rule.kind == "boolean" and is_plain:
        value = {"true": True, "false": False}.get(text, text)
    if text == "" and is_plain:
        return Problem(at=name, what=f"{name} has no value", fix="write one, or leave the key out")
    problem = field_problem(kind, name, value)
    if problem is None:
        return value
    return replace(problem, fix=_hint(rule, value, problem.fix))


def _number(text: str) -> Scalar:
    if len(text) > _LONGEST_NUMBER:
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _REAL.fullmatch(text) else text


def _hint(rule: Rule, value: Scalar, fix: str) -> str:
    if isinstance(value, str) and rule.is_number:
        trap = next((why for pattern, why in _TRAPS if pattern.fullmatch(value)), "")
        return f"{trap}: {fix}" if trap else fix
    return fix


def spelled(kind: type, name: str, value: Scalar | tuple[Scalar, ...]) -> str:
    """The canonical text of a field's value: whole expansions without a decimal point, other reals with one.

    For a field that is a list, the text contains all entries.

    >>> spelled(ms.BlockSpec, "expansion", 6.0), spelled(ms.ModelSpec, "width", 1)
    ('6', '1.0')
    >>> spelled(ms.ModelSpec, "resolution", (1025, 2049))
    '{height: 1025, width: 2049}'
    """
    if name == "resolution" and isinstance(value, tuple):
        return f"{{height: {value[0]}, width: {value[1]}}}"
    if isinstance(value, tuple):
        return f"[{', '.join(spelled(kind, name, entry) for entry in value)}]"
    if value is not None and rules_of(kind)[name].kind == "real":
        real = float(value)
        return str(int(real)) if name == "expansion" and real.is_integer() else repr(real)
    return text_of(value)
