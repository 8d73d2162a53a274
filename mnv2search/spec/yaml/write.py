"""Writing a spec or a search space as canonical YAML: short, with keyed rows, without defaults."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields

from mnv2search.spec import model_spec as ms
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.space import SearchSpace
from mnv2search.spec.space_rules import Scalar, address_of
from mnv2search.spec.yaml.fields import FORMAT_VERSION, keys_of, spelled

Options = Mapping[str, tuple[Scalar, ...]]

# Names that every YAML reader reads as text.
_PLAIN = re.compile(r"(?!(?:true|false|null|none|yes|no|on|off|y|n)$)[A-Za-z_][A-Za-z0-9_.+/-]*", re.IGNORECASE)
_ALWAYS: Mapping[type, frozenset[str]] = {
    ms.ModelSpec: frozenset({"name", "resolution", "width"}),
    ms.Stem: frozenset({"channels", "kernel", "stride"}),
    ms.Classifier: frozenset({"classes", "dropout"}),
    ms.ExtraLayer: frozenset({"channels"}),
    ms.BatchNorm: frozenset({"eps", "momentum"}),
    ms.BlockSpec: frozenset({"expansion", "channels", "repeats", "stride"}),
}


def dumps(value: ModelSpec | SearchSpace) -> str:
    """The canonical YAML of a spec or search space; `loads(dumps(value)) == value`.

    A search space without axes is written as a plain spec.
    """
    spec = value.template if isinstance(value, SearchSpace) else value
    options = {axis.at: axis.options for axis in value.axes} if isinstance(value, SearchSpace) else {}
    entries = _entries(spec, "", options)
    before = {key: entries.pop(key) for key in ("name", "resolution", "width")}
    last = entries.pop("last", spelled(ms.ModelSpec, "last_channels", spec.last_channels))
    lines = [f"mnv2search: {FORMAT_VERSION}"]
    lines += [f"{key}: {text}" for key, text in before.items()]
    lines.append(f"stem: {_flow(_entries(spec.stem, 'stem.', options))}")
    lines += [f"{key}: {text}" for key, text in entries.items()]
    if spec.batch_norm != ms.BatchNorm() or any(at.startswith("batch_norm.") for at in options):
        lines.append(f"batch_norm: {_flow(_entries(spec.batch_norm, 'batch_norm.', options))}")
    lines.append("blocks:")
    lines += [f"  - {_row(block, number, options)}" for number, block in enumerate(spec.blocks)]
    lines.append(f"last: {last}")
    lines.append(f"head: {'none' if spec.head is None else _head(spec.head, options)}")
    return "\n".join(lines) + "\n"


def stage_text(spec: ModelSpec, at: str) -> str:
    """A stage as a file writes it; `at` is ``stem``, ``last_channels``, ``head`` or a row such as ``blocks[2]``.

    >>> from mnv2search.spec.model_spec import BlockSpec, ModelSpec
    >>> stage_text(ModelSpec(name="m", blocks=(BlockSpec(channels=24, kernel=5),)), "blocks[0]")
    '{t: 6, c: 24, n: 1, s: 1, k: 5}'
    """
    if at == "stem":
        return _flow(_entries(spec.stem, "stem.", {}))
    if at == "last_channels":
        return spelled(ms.ModelSpec, "last_channels", spec.last_channels)
    if at == "head":
        return "none" if spec.head is None else _head(spec.head, {})
    return _row(spec.blocks[int(at.removeprefix("blocks[").removesuffix("]"))], 0, {})


def _head(head: ms.Head, options: Options) -> str:
    entries = _entries(head, "head.", options)
    if isinstance(head, ms.Classifier):
        return _flow(entries)
    if isinstance(head, ms.SsdLite) and _has_own_extras(head, options):
        rows = (_flow(_entries(one, f"head.extras[{i}].", options)) for i, one in enumerate(head.extras))
        entries["extras"] = f"[{', '.join(rows)}]"
    return _flow({"kind": head.word, **entries})


def _has_own_extras(head: ms.SsdLite, options: Options) -> bool:
    return head.extras != ms.SsdLite().extras or any(at.startswith("head.extras[") for at in options)


def _row(block: ms.BlockSpec, number: int, options: Options) -> str:
    prefix = f"blocks[{number}]."
    each = {
        address.field: choices
        for at, choices in options.items()
        if (address := address_of(at)).row == number and address.each == 0
    }
    entries = _entries(block, prefix, options)
    inner = {}
    for key, name in keys_of(ms.BlockSpec).items():
        if name in each:
            entries.pop(key, None)
            inner[key] = _choices(ms.BlockSpec, name, each[name])
    if inner:
        entries["each"] = _flow(inner)
    return _flow(entries)


def _entries(
    value: ms.ModelSpec | ms.Stem | ms.Head | ms.ExtraLayer | ms.BatchNorm | ms.BlockSpec,
    prefix: str,
    options: Options,
) -> dict[str, str]:
    """Key and text of every field that is a choice, is always written, or differs from its default."""
    kind = type(value)
    defaults = {f.name: f.default for f in fields(kind)}
    entries: dict[str, str] = {}
    for key, name in keys_of(kind).items():
        own = getattr(value, name)
        if f"{prefix}{name}" in options:
            entries[key] = _choices(kind, name, options[f"{prefix}{name}"])
        elif name in _ALWAYS.get(kind, {"classes"}) or defaults[name] is MISSING or own != defaults[name]:
            is_quoted = name == "name" and not _PLAIN.fullmatch(own)
            entries[key] = json.dumps(own, ensure_ascii=False) if is_quoted else spelled(kind, name, own)
    return entries


def _choices(kind: type, name: str, options: tuple[Scalar, ...]) -> str:
    return f"[{', '.join(spelled(kind, name, option) for option in options)}]"


def _flow(entries: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{key}: {text}" for key, text in entries.items()) + "}"
