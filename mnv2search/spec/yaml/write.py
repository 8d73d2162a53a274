"""Writing a spec or a search space as canonical YAML: short, with keyed rows, without defaults."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, replace
from functools import lru_cache

from mnv2search.errors import SpecError
from mnv2search.spec import model_spec as ms
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.rules import name_problem
from mnv2search.spec.space import Pick, SearchSpace, blocks_of, options_beside_rows, resolve
from mnv2search.spec.space_rules import Scalar, address_of
from mnv2search.spec.yaml.fields import FORMAT_VERSION, keys_of, spelled

Options = Mapping[str, tuple[Scalar, ...]]

FIRST_LINE = f"mnv2search: {FORMAT_VERSION}\n"
UNNAMED = "x"
NAME_LINE = f"name: {UNNAMED}\n"

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
    above, below = _around(spec, options)
    rows = (_row(block, number, options) for number, block in enumerate(spec.blocks)) if options else ()
    return f"{above}{''.join(rows) or _plain_rows(spec.blocks)}{below}"


class PickWriter:
    """Writes the canonical YAML of networks of a space without building them, several times faster than `dumps`."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._texts: dict[Pick, tuple[str, str]] = {}

    def dumps(self, pick: Sequence[int], *, name: str) -> str:
        """The text of a pick's network under a name; whether its layers fit together is not checked.

        Raises:
            OptionError: the pick does not have exactly one valid index for each axis.
            SpecError: the options or the name are invalid.
        """
        if (problem := name_problem(name)) is not None:
            raise SpecError.from_problems([problem])
        blocks, beside = blocks_of(self._space, pick), options_beside_rows(self._space, pick)
        if beside not in self._texts:
            network = replace(resolve(self._space, pick), name=UNNAMED)
            above, below = _around(network, {})
            self._texts[beside] = (above.partition(NAME_LINE)[2], below)
        above, below = self._texts[beside]
        return f"{FIRST_LINE}name: {_name_text(name)}\n{above}{_plain_rows(blocks)}{below}"


def _around(spec: ModelSpec, options: Options) -> tuple[str, str]:
    """The text above the rows, and the text below them."""
    entries = _entries(spec, "", options)
    before = {key: entries.pop(key) for key in ("name", "resolution", "width")}
    last = entries.pop("last", spelled(ms.ModelSpec, "last_channels", spec.last_channels))
    lines = [f"{key}: {text}" for key, text in before.items()]
    lines.append(f"stem: {_flow(_entries(spec.stem, 'stem.', options))}")
    lines += [f"{key}: {text}" for key, text in entries.items()]
    if spec.batch_norm != ms.BatchNorm() or any(at.startswith("batch_norm.") for at in options):
        lines.append(f"batch_norm: {_flow(_entries(spec.batch_norm, 'batch_norm.', options))}")
    head = "none" if spec.head is None else _head(spec.head, options)
    above = "".join(f"{line}\n" for line in [*lines, "blocks:"])
    return f"{FIRST_LINE}{above}", f"last: {last}\nhead: {head}\n"


def _plain_rows(blocks: Sequence[ms.BlockSpec]) -> str:
    return "".join(map(_plain_row, blocks))


@lru_cache(maxsize=65_536)
def _plain_row(block: ms.BlockSpec) -> str:
    return _row(block, 0, {})


def _name_text(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def stage_text(spec: ModelSpec, at: str) -> str:
    """A stage as YAML; `at` is ``stem``, ``last_channels``, ``head`` or a row such as ``blocks[2]``.

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
    row = _plain_row(spec.blocks[int(at.removeprefix("blocks[").removesuffix("]"))])
    return row.removeprefix("  - ").rstrip("\n")


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
    return f"  - {_flow(entries)}\n"


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
            entries[key] = _name_text(own) if name == "name" else spelled(kind, name, own)
    return entries


def _choices(kind: type, name: str, options: tuple[Scalar, ...]) -> str:
    return f"[{', '.join(spelled(kind, name, option) for option in options)}]"


def _flow(entries: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{key}: {text}" for key, text in entries.items()) + "}"
