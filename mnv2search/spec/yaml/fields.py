"""Which YAML key stands for which field, and how the text of a scalar becomes a value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, replace

from mnv2search.errors import Problem
from mnv2search.spec import model_spec as ms
from mnv2search.spec import rules
from mnv2search.spec.space_rules import Scalar, text_of

__all__ = ["DEFAULT_COLUMNS", "FORMAT_VERSION", "KEYS", "STRUCTURAL", "scalar_of", "spelled"]

FORMAT_VERSION = 1
DEFAULT_COLUMNS = ("t", "c", "n", "s")
# Keys of a file that hold no scalar of their own.
STRUCTURAL = ("mnv2search", "stem", "columns", "blocks", "head", "batch_norm")

# YAML key -> field, in the order in which they are written; t, c, n, s, k are the paper's and the field's letters.
KEYS: Mapping[type, Mapping[str, str]] = {
    ms.ModelSpec: {
        "name": "name",
        "resolution": "resolution",
        "width": "width",
        "last": "last_channels",
        "divisor": "channel_divisor",
        "min_channels": "min_channels",
        "keep_stem": "keep_stem",
        "keep_last": "keep_last",
        "output_stride": "output_stride",
        "padding": "padding",
        "activation": "activation",
        "normalizer": "normalizer",
    },
    ms.Stem: {"c": "channels", "k": "kernel", "s": "stride"},
    ms.Classifier: {"classes": "classes", "dropout": "dropout"},
    ms.SsdLite: {f.name: f.name for f in fields(ms.SsdLite) if f.name != "extras"},
    ms.DeepLab: {f.name: f.name for f in fields(ms.DeepLab)},
    ms.ExtraLayer: {"c": "channels"},
    ms.BatchNorm: {"eps": "eps", "momentum": "momentum"},
    ms.BlockSpec: {
        "t": "expansion",
        "c": "channels",
        "n": "repeats",
        "s": "stride",
        "k": "kernel",
        "dilation": "dilation",
        "expand_to": "expand_to",
        "expand_divisor": "expand_divisor",
        "operator": "operator",
        "residual": "residual",
        "split_expansion": "split_expansion",
        "split_projection": "split_projection",
        "split_divisor": "split_divisor",
        "transform": "transform",
        "depthwise_location": "depthwise_location",
        "depthwise_multiplier": "depthwise_multiplier",
        "activation": "activation",
        "depthwise_activation": "depthwise_activation",
        "projection_activation": "projection_activation",
        "normalizer": "normalizer",
        "padding": "padding",
    },
}

_INTEGER = re.compile(r"-?(?:0|[1-9]\d*)")
_REAL = re.compile(r"-?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")
_LONGEST_NUMBER = 40
# What YAML 1.1 would read in silence as something else.
_TRAPS = (
    (re.compile(r"[-+]?0[0-9_]+"), "a leading 0 means base 8 to some readers"),
    (re.compile(r"[-+]?[0-9]+(?::[0-9.]+)+"), "a colon means base 60 to some readers"),
    (re.compile(r"[-+]?0[xXbBoO].*"), "only decimal numbers are read"),
    (re.compile(r"[-+]?[0-9]+_[0-9_]*"), "underscores are not read"),
    (re.compile(r"\+.*"), "leave the plus sign out"),
    (re.compile(r"[-+]?\.?(?:nan|inf|infinity)", re.IGNORECASE), "only finite numbers are read"),
)


def scalar_of(kind: type, name: str, text: str, *, is_plain: bool) -> Scalar | Problem:
    """The value of one field from its text, or what is wrong with it.

    >>> scalar_of(ms.BlockSpec, "stride", "2", is_plain=True)
    2
    >>> scalar_of(ms.BlockSpec, "stride", "010", is_plain=True).fix
    'a leading 0 means base 8 to some readers: use 1 to keep the resolution or 2 to halve it'
    """
    value: Scalar = text
    if name in rules.INTEGERS[kind] or name in rules.REALS[kind]:
        if not is_plain:
            return Problem(at=name, what=f"{name} is {text[:40]!r} in quotes", fix="write the number without quotes")
        if text == "none" and name in rules.OPTIONAL[kind]:
            return None
        value = _number(text)
    elif name in rules.BOOLEANS[kind] and is_plain:
        value = {"true": True, "false": False}.get(text, text)
    if text == "" and is_plain:
        return Problem(at=name, what=f"{name} has no value", fix="write one, or leave the key out")
    problem = rules.field_problem(kind, name, value)
    if problem is None:
        return value
    return replace(problem, fix=_hint(kind, name, value, problem.fix))


def _number(text: str) -> Scalar:
    if len(text) > _LONGEST_NUMBER:
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _REAL.fullmatch(text) else text


def _hint(kind: type, name: str, value: Scalar, fix: str) -> str:
    if isinstance(value, str) and (name in rules.INTEGERS[kind] or name in rules.REALS[kind]):
        trap = next((why for pattern, why in _TRAPS if pattern.fullmatch(value)), "")
        return f"{trap}: {fix}" if trap else fix
    return fix


def spelled(kind: type, name: str, value: Scalar | tuple[Scalar, ...]) -> str:
    """The text of a field's value in canonical form: whole expansions without a point, other reals with one.

    Of a field that is a list, the text of all entries.

    >>> spelled(ms.BlockSpec, "expansion", 6.0), spelled(ms.ModelSpec, "width", 1)
    ('6', '1.0')
    >>> spelled(ms.ModelSpec, "resolution", (1025, 2049))
    '{height: 1025, width: 2049}'
    """
    if name == "resolution" and isinstance(value, tuple):
        return f"{{height: {value[0]}, width: {value[1]}}}"
    if isinstance(value, tuple):
        return f"[{', '.join(spelled(kind, name, entry) for entry in value)}]"
    if value is not None and name in rules.REALS[kind]:
        real = float(value)
        return str(int(real)) if name == "expansion" and real.is_integer() else repr(real)
    return text_of(value)
