"""Parsing of YAML text into a spec or a search space, with every problem at its line and column."""

from __future__ import annotations

from dataclasses import dataclass, field

from mnv2search.errors import SpecError
from mnv2search.spec import model_spec as ms
from mnv2search.spec import space_check
from mnv2search.spec.heads.registry import head_of, known_heads
from mnv2search.spec.model_spec import ModelSpec
from mnv2search.spec.rows import MAX_UNITS
from mnv2search.spec.rules import built, list_length_problem, rules_of
from mnv2search.spec.space import SearchSpace
from mnv2search.spec.space_rules import MAX_AXES, Scalar
from mnv2search.spec.yaml.fields import DEFAULT_COLUMNS, FORMAT_VERSION, STRUCTURAL, keys_of
from mnv2search.spec.yaml.nodes import NodeReader
from mnv2search.spec.yaml.source import Items, Node, Source, Table, Text, parse


def loads(text: str, *, file: str = "<string>") -> ModelSpec | SearchSpace:
    """The spec or search space of a YAML text.

    docs/reference/spec-language.md describes the language. Error messages show `file` as the file name.

    Raises:
        SpecError: with every problem of the text, each at its line and column.

    >>> loads("{mnv2search: 1, name: one, blocks: [{t: 6, c: 24, s: 2}]}").blocks[0].channels
    24
    """
    source, root = parse(text, file=file)
    return _Reader(source).model(root)


@dataclass(slots=True)
class _Row:
    values: dict[str, object] = field(default_factory=dict)
    choices: dict[str, tuple[Scalar, ...]] = field(default_factory=dict)
    each: dict[str, tuple[Scalar, ...]] = field(default_factory=dict)
    is_whole: bool = True


class _Reader(NodeReader):
    """One pass over the tree of a file."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.columns: tuple[str, ...] = DEFAULT_COLUMNS

    # -- the file ------------------------------------------------------------------------------------------------

    def model(self, root: Node) -> ModelSpec | SearchSpace:
        keys = {**keys_of(ms.ModelSpec), **{key: key for key in STRUCTURAL}}
        table = self.table(root, "", keys)
        values: dict[str, object] = {}
        for key, node in table.items():
            if key in keys_of(ms.ModelSpec):
                self.field(ms.ModelSpec, keys_of(ms.ModelSpec)[key], node, "", values)
        if isinstance(root, Table):
            self.version(table.get("mnv2search"))
        self.columns = self.columns_of(table.get("columns"))
        for key, kind in (("stem", ms.Stem), ("batch_norm", ms.BatchNorm)):
            if key in table:
                values[key] = self.section(key, kind, table[key])
        if "head" in table:
            values["head"] = self.head(table["head"])
        rows = self.rows(table.get("blocks"))
        for key in ("name", "blocks"):
            if key not in table and isinstance(root, Table):
                self.note("", f"{key} is missing", f"add the key {key}")
        blocks = [block for i, row in enumerate(rows) if (block := self.block(row, i)) is not None]
        self.source.refuse()
        return self.finished({**values, "blocks": tuple(blocks)})

    def finished(self, values: dict[str, object]) -> ModelSpec | SearchSpace:
        try:
            template = built(ms.ModelSpec, values)
            if not self.axes:
                return template
            space = SearchSpace(template=template, axes=tuple(self.axes))
        except SpecError as error:
            self.note_all("", error.diagnostics)
            self.source.refuse()
            raise
        for problem in space_check.pick_problems(space):
            self.note(problem.at, problem.what, problem.fix)
        self.source.refuse()
        return space

    def version(self, node: Node | None) -> None:
        fix = f"write mnv2search: {FORMAT_VERSION}, the version of this format"
        if node is None:
            self.note("", "mnv2search is missing", fix)
        elif isinstance(node, Text) and node.text != str(FORMAT_VERSION):
            self.note_at(node, "mnv2search", f"mnv2search is {node.text[:40]!r}", fix)
        elif isinstance(node, Items | Table):
            self.note_at(node, "mnv2search", "mnv2search is not a number", fix)

    def columns_of(self, node: Node | None) -> tuple[str, ...]:
        if node is None:
            return DEFAULT_COLUMNS
        fix = "list keys of a row once each, with c among them, such as [t, c, n, s, k]"
        if not isinstance(node, Items):
            self.note_at(node, "columns", "columns is not a list", fix)
            return DEFAULT_COLUMNS
        names = [item.text if isinstance(item, Text) else "" for item in node.items]
        keys = keys_of(ms.BlockSpec)
        for item, name in zip(node.items, names, strict=True):
            if name not in keys:
                self.note_at(item, "columns", f"columns has {name[:40]!r}", self.key_hint(name, keys))
        if len(set(names)) < len(names) or "c" not in names:
            self.note_at(node, "columns", "columns repeats a key or lacks c", fix)
        return tuple(names)

    def section(self, key: str, kind: type, node: Node) -> object:
        self.places[key] = (node.line, node.column)
        values: dict[str, object] = {}
        for name, child in self.table(node, key, keys_of(kind)).items():
            self.field(kind, keys_of(kind)[name], child, f"{key}.", values)
        return built(kind, values)

    # -- the head -------------------------------------------------------------------------------------------------

    def head(self, node: Node) -> ms.Head | None:
        """The head of a file; after a reported problem, a classifier."""
        self.places["head"] = (node.line, node.column)
        if isinstance(node, Text):
            return None if node.text == "none" else self.head_filled(self.head_kind(node, "none"), Table(0, 0, ()))
        entries = node.entries if isinstance(node, Table) else ()
        named = next((child for key, child in entries if key.text == "kind"), None)
        kind: type[ms.Head] = ms.Classifier
        if isinstance(named, Text):
            kind = self.head_kind(named)
        elif named is not None:
            words = ", ".join(one.word for one in known_heads())
            self.note_at(named, "head.kind", "head.kind is not a word", f"use one of {words}")
        if isinstance(node, Table):
            # `kind` selects the class of the head and is not a field of it.
            node = Table(node.line, node.column, tuple(e for e in node.entries if e[0].text != "kind"))
        return self.head_filled(kind, node)

    def head_kind(self, node: Text, *others: str) -> type[ms.Head]:
        if (kind := head_of(node.text)) is not None:
            return kind
        words = ", ".join((*others, *(one.word for one in known_heads())))
        fix = f"use one of {words}, or a mapping such as {{kind: ssdlite, classes: 3}}"
        self.note_at(node, "head", f"head is {node.text[:40]!r}", fix)
        return ms.Classifier

    def head_filled(self, kind: type[ms.Head], node: Node) -> ms.Head:
        values: dict[str, object] = {}
        extras = {"extras": "extras"} if kind is ms.SsdLite else {}
        for key, child in self.table(node, "head", {**keys_of(kind), **extras}).items():
            if key == "extras":
                values["extras"] = self.extras(child)
            elif rules_of(kind)[key].entries is not None:
                self.head_list(kind, key, child, values)
            else:
                self.field(kind, key, child, "head.", values)
        try:
            return built(kind, values)
        except SpecError as error:
            self.note_all("head.", error.diagnostics)
            return ms.Classifier()

    def head_list(self, kind: type, name: str, node: Node, values: dict[str, object]) -> None:
        """Read a field whose value is a list, which is not a choice."""
        at = f"head.{name}"
        items = self.head_items(kind, name, node)
        if items is None:
            return
        before = len(self.source.diagnostics)
        entries: list[Scalar] = []
        for number, item in enumerate(items):
            self.places[f"{at}[{number}]"] = (item.line, item.column)
            entries.append(self.scalar(kind, name, item, "head."))
        if len(self.source.diagnostics) == before:
            is_real = rules_of(kind)[name].kind == "real"
            values[name] = tuple(float(e) if is_real else e for e in entries)  # type: ignore[arg-type]

    def extras(self, node: Node) -> tuple[ms.ExtraLayer, ...]:
        items = self.head_items(ms.SsdLite, "extras", node) or ()
        return tuple(self.extra(item, f"head.extras[{number}]") for number, item in enumerate(items))

    def extra(self, node: Node, at: str) -> ms.ExtraLayer:
        """One extra layer; a bare number is its channel count."""
        self.places[at] = (node.line, node.column)
        values: dict[str, object] = {}
        keys = keys_of(ms.ExtraLayer)
        cells = {"c": node} if isinstance(node, Text) else self.table(node, at, keys)
        if "c" not in cells and isinstance(node, Table):
            self.note(at, f"{at}.channels is missing", "give the layer its output channels: c")
        for key, child in cells.items():
            self.field(ms.ExtraLayer, keys[key], child, f"{at}.", values)
        return built(ms.ExtraLayer, {"channels": 1, **values})

    def head_items(self, kind: type, name: str, node: Node) -> tuple[Node, ...] | None:
        """The entries of a list, or None after a reported problem such as too many entries."""
        at = f"head.{name}"
        self.places[at] = (node.line, node.column)
        if isinstance(node, Text) and node.text == "none":
            items: tuple[Node, ...] = ()
        elif isinstance(node, Items):
            items = tuple(node.items)
        else:
            self.note_at(node, at, f"{at} is not a list", "write a list such as [a, b], or none")
            return None
        if (problem := list_length_problem(kind, name, len(items))) is not None:
            self.note(at, f"head.{problem.what}", problem.fix)
            return None
        return items

    # -- rows ----------------------------------------------------------------------------------------------------

    def rows(self, node: Node | None) -> list[_Row]:
        if node is None:
            return []
        self.places["blocks"] = (node.line, node.column)
        if not isinstance(node, Items):
            self.note_at(node, "blocks", "blocks is not a list", "write one row a line, each beginning with a dash")
            return []
        if len(node.items) > MAX_UNITS:
            what = f"blocks has {len(node.items)} rows"
            self.note_at(node, "blocks", what, f"at most {MAX_UNITS} layers are planned")
            return []
        return [self.row(item, f"blocks[{i}]") for i, item in enumerate(node.items)]

    def row(self, node: Node, at: str) -> _Row:
        self.places[at] = (node.line, node.column)
        before = len(self.source.diagnostics)
        row = _Row()
        cells = self.bare_cells(node, at) if isinstance(node, Items) else self.keyed_cells(node, at, row)
        for key, child in cells.items():
            name = keys_of(ms.BlockSpec)[key]
            if (options := self.options(ms.BlockSpec, name, child, f"{at}.")) is not None:
                row.values[name] = options[0]
                row.choices[name] = options
        for name in row.each.keys() & row.choices.keys():
            self.note(f"{at}.{name}", f"{at}.{name} is both in the row and under each", "keep one of the two")
        for name, options in row.each.items():
            row.values.setdefault(name, options[0])
        if isinstance(node, Table) and "channels" not in row.values and "c" not in cells:
            self.note(at, f"{at}.channels is missing", "give the row its output channels: c")
        row.is_whole = len(self.source.diagnostics) == before and "channels" in row.values
        return row

    def bare_cells(self, node: Items, at: str) -> dict[str, Node]:
        if len(node.items) != len(self.columns):
            what = f"{at} has {len(node.items)} entries, but there are {len(self.columns)} columns"
            self.note_at(node, at, what, f"write [{', '.join(self.columns)}], or a keyed row such as {{t: 6, c: 24}}")
            return {}
        keys = keys_of(ms.BlockSpec)
        return {key: child for key, child in zip(self.columns, node.items, strict=True) if key in keys}

    def keyed_cells(self, node: Node, at: str, row: _Row) -> dict[str, Node]:
        cells = self.table(node, at, {**keys_of(ms.BlockSpec), "each": "each"})
        each = cells.pop("each", None)
        if each is not None:
            inner = {key: name for key, name in keys_of(ms.BlockSpec).items() if key not in ("n", "s")}
            for key, child in self.table(each, f"{at}.each", inner).items():
                options = self.options(ms.BlockSpec, inner[key], child, f"{at}.each.")
                if options is not None:
                    row.each[inner[key]] = options
        return cells

    def block(self, row: _Row, number: int) -> ms.BlockSpec | None:
        """The block spec of the row at its first options; adds the row's axes."""
        at = f"blocks[{number}]"
        if not row.is_whole:
            return None
        for name, options in row.choices.items():
            self.axis(f"{at}.{name}", options)
        counts = row.choices.get("repeats", (1,))
        most = max(count for count in counts if isinstance(count, int))
        for name, options in row.each.items():
            if len(self.axes) + most > MAX_AXES:
                self.note(at, f"{at} brings the choices to more than {MAX_AXES}", "choose in fewer places")
                return None
            for repeat in range(most):
                self.places.setdefault(f"{at}.each[{repeat}].{name}", self.places[f"{at}.each.{name}"])
                self.axis(f"{at}.each[{repeat}].{name}", options)
        try:
            return built(ms.BlockSpec, row.values)
        except SpecError as error:
            self.note_all(f"{at}.", error.diagnostics)
            return None
