"""Reading one node of the tree (a scalar, a list of choices, a range or a mapping) and reporting every problem."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from mnv2search.errors import Diagnostic, Problem, nearest
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.rules import rules_of
from mnv2search.spec.size import Size
from mnv2search.spec.space import Axis
from mnv2search.spec.space_rules import MAX_OPTIONS, Scalar
from mnv2search.spec.yaml.fields import scalar_of
from mnv2search.spec.yaml.source import Broken, Items, Node, Source, Table, Text

_RANGE = ("from", "to", "step")
_SIDES = ("height", "width")
SQUARES_ONLY = (
    "write one value: a space chooses among squares, or has one {height: 1025, width: 2049} for all of its networks"
)
_RANGE_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,9})(?:\.\d{1,9})?")


class NodeReader:
    """Reader of the nodes of one file; `places` maps every address read so far to its line and column."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.places: dict[str, tuple[int, int]] = {"": (1, 1)}
        self.axes: list[Axis] = []

    def axis(self, at: str, options: tuple[Scalar, ...]) -> None:
        """Record the choice of a field; a single option is not a choice."""
        if len(options) > 1:
            self.axes.append(Axis(at=at, options=options))

    def table(self, node: Node, at: str, keys: Mapping[str, str]) -> dict[str, Node]:
        """The known keys of a mapping; unknown keys are reported."""
        if isinstance(node, Broken):
            return {}
        if not isinstance(node, Table):
            what = f"{at or 'the file'} is not a mapping"
            self.note_at(node, at, what, f"write keys with values, such as {next(iter(keys))}: …")
            return {}
        known: dict[str, Node] = {}
        for key, child in node.entries:
            if key.text in keys:
                known[key.text] = child
            else:
                message = f"unknown key {key.text[:40]!r}" + (f" in {at}" if at else "")
                self.note_at(key, at, message, self.key_hint(key.text, keys))
        return known

    def key_hint(self, key: str, keys: Mapping[str, str]) -> str:
        """The hint for an unknown key."""
        if key in ("n", "s", "repeats", "stride") and "t" in keys and "n" not in keys:
            return f"{key} belongs to the row, not under each"
        if key == "<<":
            return "merge keys are not read: write the keys out"
        if (short := next((k for k, name in keys.items() if name == key), None)) is not None:
            return f"write {short}, which stands for {key}"
        near = nearest(key[:40], [*keys, *(name for name in keys.values() if name not in keys)])
        named = dict.fromkeys(next((k for k, name in keys.items() if n == name), n) for n in near)
        return f"did you mean {' or '.join(named)}?" if named else f"known: {', '.join(keys)}"

    def field(self, kind: type, name: str, node: Node, prefix: str, values: dict[str, object]) -> None:
        """Read one field outside the rows into `values`, and record its axis if it is a choice."""
        if name == "name" and not isinstance(node, Text):
            self.places["name"] = (node.line, node.column)
            self.note_at(node, "name", "name is not a word", "write one name")
        elif name == "resolution" and isinstance(node, Table) and not any(k.text in _RANGE for k, _ in node.entries):
            self.size(node, values)
        elif (options := self.options(kind, name, node, prefix)) is not None:
            values[name] = options[0]
            self.axis(f"{prefix}{name}", options)

    def size(self, node: Table, values: dict[str, object]) -> None:
        """Read ``{height: 1025, width: 2049}`` as the resolution."""
        self.places["resolution"] = (node.line, node.column)
        table = self.table(node, "resolution", {key: key for key in _SIDES})
        found: list[int] = []
        for key in _SIDES:
            at, child = f"resolution.{key}", table.get(key)
            if child is None:
                self.note("resolution", f"resolution has no {key}", "write it as {height: 1025, width: 2049}")
                continue
            self.places[at] = (child.line, child.column)
            if not isinstance(child, Text):
                self.note(at, f"{at} is not a single value", SQUARES_ONLY)
                continue
            value = scalar_of(ModelSpec, "resolution", child.text, is_plain=child.is_plain)
            if isinstance(value, int):
                found.append(value)
            elif isinstance(value, Problem):
                self.note(at, value.what.replace("resolution", at, 1), value.fix)
        if len(found) == len(_SIDES):
            values["resolution"] = Size(*found).resolution

    def options(self, kind: type, name: str, node: Node, prefix: str) -> tuple[Scalar, ...] | None:
        """The value or values of a field; None after a reported problem."""
        at = f"{prefix}{name}"
        self.places[at] = (node.line, node.column)
        if isinstance(node, Table):
            return self.range_options(kind, name, node, prefix)
        nodes: Sequence[Node] = node.items if isinstance(node, Items) else (node,)
        if not 1 <= len(nodes) <= MAX_OPTIONS:
            self.note(at, f"{at} has {len(nodes)} options", f"write 1 to {MAX_OPTIONS}")
            return None
        before = len(self.source.diagnostics)
        values: list[Scalar] = []
        for item in nodes:
            noted = len(self.source.diagnostics)
            value = self.scalar(kind, name, item, prefix)
            if len(self.source.diagnostics) > noted:
                continue
            if (isinstance(value, bool), value) in {(isinstance(v, bool), v) for v in values}:
                self.note_at(item, at, f"{at} has an option twice", "write every option once")
            values.append(value)
        if len(self.source.diagnostics) > before or not all(isinstance(n, Text) for n in nodes):
            return None
        return tuple(values)

    def scalar(self, kind: type, name: str, node: Node, prefix: str) -> Scalar:
        """One value of a field; problems are reported."""
        if not isinstance(node, Text):
            if isinstance(node, Items | Table):
                hint = SQUARES_ONLY if name == "resolution" else "write one value"
                self.note_at(node, f"{prefix}{name}", f"{prefix}{name} is not a single value", hint)
            return None
        value = scalar_of(kind, name, node.text, is_plain=node.is_plain)
        if isinstance(value, Problem):
            self.note_at(node, f"{prefix}{name}", f"{prefix}{value.what}", value.fix)
            return None
        return value

    def range_options(self, kind: type, name: str, node: Table, prefix: str) -> tuple[Scalar, ...] | None:
        """The options of ``{from: 96, to: 224, step: 32}``, computed in decimals so that steps of 0.1 are exact."""
        at = f"{prefix}{name}"
        fix = "write it as {from: 96, to: 224, step: 32}, with a step above 0 that leads from one to the other"
        if not rules_of(kind)[name].is_number:
            self.note(at, f"{at} is a range", "only numbers have ranges: write a list of choices")
            return None
        table = self.table(node, at, {key: key for key in _RANGE})
        numbers: list[Decimal] = []
        for key in _RANGE:
            child = table.get(key)
            text = child.text if isinstance(child, Text) and child.is_plain else ""
            if not _RANGE_NUMBER.fullmatch(text):
                self.note(at, f"{at} has no number for {key}", fix)
                return None
            numbers.append(Decimal(text))
        start, stop, step = numbers
        if step <= 0 or stop < start or (stop - start) % step:
            self.note(at, f"{at} goes from {start} to {stop} by {step}", fix)
            return None
        if (count := int((stop - start) / step) + 1) > MAX_OPTIONS:
            self.note(at, f"{at} has {count} options", f"at most {MAX_OPTIONS} are searched: use a larger step")
            return None
        texts = [f"{(start + i * step).normalize():f}" for i in range(count)]
        return self.options(
            kind,
            name,
            Items(node.line, node.column, tuple(Text(node.line, node.column, text, True) for text in texts)),
            prefix,
        )

    # -- problems ------------------------------------------------------------------------------------------------

    def note_at(self, node: Node, at: str, message: str, hint: str) -> None:
        """Report a problem at a node's position."""
        self.source.add((node.line, node.column), message, hint, at=at)

    def note(self, at: str, message: str, hint: str) -> None:
        """Report a problem at an address's position."""
        self.source.add(self.place(at), message, hint, at=at)

    def note_all(self, prefix: str, found: Iterable[Diagnostic]) -> None:
        """Report problems of a value, whose addresses are relative to the value."""
        for one in found:
            leaf = one.at.rpartition(".")[2]
            at = f"{prefix}{one.at}"
            owner = at.removesuffix(leaf)
            message = f"{owner}{one.message}" if one.message.startswith(f"{leaf} is") else f"{at}: {one.message}"
            self.note(at, message, one.hint)

    def place(self, at: str) -> tuple[int, int]:
        """The line and column of an address, or of the nearest enclosing address in the file."""
        while at not in self.places:
            at = re.sub(r"(\.?\w+|\[\d+\])$", "", at) if re.search(r"(\w|\])$", at) else ""
        return self.places[at]
