"""Reading the head of a file: which one it is, its fields, lists and extra layers."""

from __future__ import annotations

from typing import Any

from mnv2search.errors import SpecError
from mnv2search.spec import model_spec as ms
from mnv2search.spec import rules
from mnv2search.spec.space import Scalar
from mnv2search.spec.yaml.fields import KEYS
from mnv2search.spec.yaml.nodes import NodeReader
from mnv2search.spec.yaml.source import Items, Node, Table, Text

__all__ = ["HeadReader"]


class HeadReader:
    """Reads the node under `head`; problems are noted in `reader`."""

    def __init__(self, reader: NodeReader) -> None:
        self.reader = reader

    def head(self, node: Node) -> ms.Head | None:
        """The head that is meant; where something is wrong, one with what could be read."""
        self.reader.places["head"] = (node.line, node.column)
        if isinstance(node, Text):
            return self._of_word(node, ("none", *ms.HEADS))
        named = self._named(node)
        if named is not None and not isinstance(named, Text):
            self.reader.note_at(named, "head.kind", "head.kind is not a word", f"use one of {', '.join(ms.HEADS)}")
        kind: type = ms.Classifier
        if isinstance(named, Text):
            kind = type(self._of_word(named, tuple(ms.HEADS)))
        if isinstance(node, Table):
            # A word for the kind stands beside the fields and is none of them.
            node = Table(node.line, node.column, tuple(e for e in node.entries if e[0].text != "kind"))
        return self._filled(kind, node)

    def _named(self, node: Node) -> Node | None:
        entries = node.entries if isinstance(node, Table) else ()
        return next((child for key, child in entries if key.text == "kind"), None)

    def _of_word(self, node: Text, known: tuple[str, ...]) -> ms.Head | None:
        if node.text in known:
            return None if node.text == "none" else ms.HEADS[node.text]()
        fix = f"use one of {', '.join(known)}, or a mapping such as {{kind: ssdlite, classes: 3}}"
        self.reader.note_at(node, "head", f"head is {node.text[:40]!r}", fix)
        return ms.Classifier()

    def _filled(self, kind: type, node: Node) -> ms.Head:
        values: dict[str, Any] = {}
        extras = {"extras": "extras"} if kind is ms.SsdLite else {}
        for key, child in self.reader.table(node, "head", {**KEYS[kind], **extras}).items():
            if key == "extras":
                values["extras"] = self._extras(child)
            elif key in rules.LISTS.get(kind, {}):
                self._list(kind, key, child, values)
            else:
                self.reader.field(kind, KEYS[kind][key], child, "head.", values)
        try:
            head: ms.Head = kind(**values)
        except SpecError as error:
            self.reader.note_all("head.", error.diagnostics)
            return ms.Classifier()
        return head

    def _list(self, kind: type, name: str, node: Node, values: dict[str, Any]) -> None:
        """A field that is a list: what is built, not a choice."""
        at = f"head.{name}"
        self.reader.places[at] = (node.line, node.column)
        items = self._items(node, at)
        if items is None:
            return
        if not rules.LISTS[kind][name] <= len(items) <= rules.MAX_LISTED:
            problem = rules.list_length_problem(kind, name, len(items))
            self.reader.note(at, f"head.{problem.what}", problem.fix)
            return
        before = len(self.reader.source.diagnostics)
        entries: list[Scalar] = []
        for number, item in enumerate(items):
            self.reader.places[f"{at}[{number}]"] = (item.line, item.column)
            entries.append(self.reader.scalar(kind, name, item, "head."))
        if len(self.reader.source.diagnostics) == before:
            values[name] = tuple(float(e) if name in rules.REALS[kind] else e for e in entries)  # type: ignore[arg-type]

    def _extras(self, node: Node) -> tuple[ms.ExtraLayer, ...]:
        at = "head.extras"
        self.reader.places[at] = (node.line, node.column)
        items = self._items(node, at) or ()
        if len(items) > rules.MAX_LISTED:
            self.reader.note(at, f"head.extras has {len(items)} entries", f"at most {rules.MAX_LISTED}")
            return ()
        return tuple(self._extra(item, f"{at}[{number}]") for number, item in enumerate(items))

    def _extra(self, node: Node, at: str) -> ms.ExtraLayer:
        """One extra layer; a bare number is its channels."""
        self.reader.places[at] = (node.line, node.column)
        values: dict[str, Any] = {}
        cells = {"c": node} if isinstance(node, Text) else self.reader.table(node, at, KEYS[ms.ExtraLayer])
        if "c" not in cells and isinstance(node, Table):
            self.reader.note(at, f"{at}.channels is missing", "give the layer its output channels: c")
        for key, child in cells.items():
            self.reader.field(ms.ExtraLayer, KEYS[ms.ExtraLayer][key], child, f"{at}.", values)
        return ms.ExtraLayer(**{"channels": 1, **values})

    def _items(self, node: Node, at: str) -> tuple[Node, ...] | None:
        if isinstance(node, Text) and node.text == "none":
            return ()
        if isinstance(node, Items):
            return tuple(node.items)
        self.reader.note_at(node, at, f"{at} is not a list", "write a list such as [a, b], or none")
        return None
