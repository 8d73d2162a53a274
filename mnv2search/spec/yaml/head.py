"""Reading the head of a file: which one it is, its fields, lists and extra layers."""

from __future__ import annotations

from mnv2search.errors import SpecError
from mnv2search.spec.heads.registry import head_of, known_heads
from mnv2search.spec.model_spec import Classifier, ExtraLayer, Head, SsdLite
from mnv2search.spec.rules import built, list_length_problem, rules_of
from mnv2search.spec.space import Scalar
from mnv2search.spec.yaml.fields import keys_of
from mnv2search.spec.yaml.nodes import NodeReader
from mnv2search.spec.yaml.source import Items, Node, Table, Text


class HeadReader:
    """Reads the node under `head`; problems are noted in `reader`."""

    def __init__(self, reader: NodeReader) -> None:
        self.reader = reader

    def head(self, node: Node) -> Head | None:
        """The head of a file; where something is wrong, a classifier, and the problem is noted."""
        self.reader.places["head"] = (node.line, node.column)
        if isinstance(node, Text):
            return None if node.text == "none" else self._filled(self._kind(node, "none"), Table(0, 0, ()))
        entries = node.entries if isinstance(node, Table) else ()
        named = next((child for key, child in entries if key.text == "kind"), None)
        kind: type[Head] = Classifier
        if isinstance(named, Text):
            kind = self._kind(named)
        elif named is not None:
            words = ", ".join(one.word for one in known_heads())
            self.reader.note_at(named, "head.kind", "head.kind is not a word", f"use one of {words}")
        if isinstance(node, Table):
            # A word for the kind stands beside the fields and is none of them.
            node = Table(node.line, node.column, tuple(e for e in node.entries if e[0].text != "kind"))
        return self._filled(kind, node)

    def _kind(self, node: Text, *others: str) -> type[Head]:
        if (kind := head_of(node.text)) is not None:
            return kind
        words = ", ".join((*others, *(one.word for one in known_heads())))
        fix = f"use one of {words}, or a mapping such as {{kind: ssdlite, classes: 3}}"
        self.reader.note_at(node, "head", f"head is {node.text[:40]!r}", fix)
        return Classifier

    def _filled(self, kind: type[Head], node: Node) -> Head:
        values: dict[str, object] = {}
        extras = {"extras": "extras"} if kind is SsdLite else {}
        for key, child in self.reader.table(node, "head", {**keys_of(kind), **extras}).items():
            if key == "extras":
                values["extras"] = self._extras(child)
            elif rules_of(kind)[key].entries is not None:
                self._list(kind, key, child, values)
            else:
                self.reader.field(kind, key, child, "head.", values)
        try:
            return built(kind, values)
        except SpecError as error:
            self.reader.note_all("head.", error.diagnostics)
            return Classifier()

    def _list(self, kind: type, name: str, node: Node, values: dict[str, object]) -> None:
        """A field that is a list: what is built, not a choice."""
        at = f"head.{name}"
        items = self._items(kind, name, node)
        if items is None:
            return
        before = len(self.reader.source.diagnostics)
        entries: list[Scalar] = []
        for number, item in enumerate(items):
            self.reader.places[f"{at}[{number}]"] = (item.line, item.column)
            entries.append(self.reader.scalar(kind, name, item, "head."))
        if len(self.reader.source.diagnostics) == before:
            is_real = rules_of(kind)[name].kind == "real"
            values[name] = tuple(float(e) if is_real else e for e in entries)  # type: ignore[arg-type]

    def _extras(self, node: Node) -> tuple[ExtraLayer, ...]:
        items = self._items(SsdLite, "extras", node) or ()
        return tuple(self._extra(item, f"head.extras[{number}]") for number, item in enumerate(items))

    def _extra(self, node: Node, at: str) -> ExtraLayer:
        """One extra layer; a bare number is its channels."""
        self.reader.places[at] = (node.line, node.column)
        values: dict[str, object] = {}
        keys = keys_of(ExtraLayer)
        cells = {"c": node} if isinstance(node, Text) else self.reader.table(node, at, keys)
        if "c" not in cells and isinstance(node, Table):
            self.reader.note(at, f"{at}.channels is missing", "give the layer its output channels: c")
        for key, child in cells.items():
            self.reader.field(ExtraLayer, keys[key], child, f"{at}.", values)
        return built(ExtraLayer, {"channels": 1, **values})

    def _items(self, kind: type, name: str, node: Node) -> tuple[Node, ...] | None:
        """The entries of a list, if there are neither too few nor too many; problems are noted."""
        at = f"head.{name}"
        self.reader.places[at] = (node.line, node.column)
        if isinstance(node, Text) and node.text == "none":
            items: tuple[Node, ...] = ()
        elif isinstance(node, Items):
            items = tuple(node.items)
        else:
            self.reader.note_at(node, at, f"{at} is not a list", "write a list such as [a, b], or none")
            return None
        if (problem := list_length_problem(kind, name, len(items))) is not None:
            self.reader.note(at, f"head.{problem.what}", problem.fix)
            return None
        return items
